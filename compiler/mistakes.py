"""The errors of a JSON Schema validator -> one finding per mistake of the user, in words.

A validator reports every keyword that fails, so that one slip gives several errors. Here a misspelt field outranks what is missing because
of it, a wrong type outranks everything else about the same value, and a rule's own ``x-message`` outranks our wording of its keyword.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Edit, ResourceId, Span
from compiler.misplaced import misplaced
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.wording import nearest, shown, wording

Path = tuple[str | int, ...]

# What a value breaks first explains the rest.
_ORDER = ("type", "enum", "const", "minLength", "pattern", "minimum", "maximum")
# Keywords that say that something is not there.
_ABSENCE = frozenset({"required", "anyOf"})


_MOST_LISTED = 20
MAX_FINDINGS = 100
"""Per document, and unknown fields per object: a file of another kind under a known name must not cost minutes of advice."""


class _Mistake(NamedTuple):
    """One error in our words. ``fields`` are those that the message is about: the suggestion for a misspelt one, or what is missing."""

    path: Path
    keyword: str
    message: str
    span: Span
    help: str = ""
    fields: frozenset[str] = frozenset()
    edit: Edit | None = None


def describe(
    document: Document, schema: dict[str, Any], errors: Iterable[jsonschema_rs.ValidationError]
) -> list[Diagnostic]:
    """The findings for a document's errors, in the order of their positions; of more than MAX_FINDINGS errors the first ones."""
    mistakes = [
        mistake for error in itertools.islice(errors, MAX_FINDINGS) for mistake in _mistakes(document, schema, error)
    ]
    kept = {(mistake.span, mistake.message): mistake for mistake in _outermost(list(_without_consequences(mistakes)))}
    about = ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)
    return [
        msgspec.structs.replace(
            diagnostic("IST0106", mistake.message, mistake.span, resource=about, help=mistake.help), edit=mistake.edit
        )
        for mistake in sorted(kept.values(), key=lambda mistake: mistake.span)
    ]


def where(document: Document, path: Path) -> Span:
    """What to point at for a path: a scalar itself, a mapping or list by its key, an item by its first line."""
    node = find(document.root, path)
    if isinstance(node, Scalar):
        return node.span
    if path and isinstance(path[-1], str):
        parent = find(document.root, path[:-1])
        if isinstance(parent, Mapping) and path[-1] in parent.key_spans:
            return parent.key_spans[path[-1]]
    return _first_line(document.root if node is None else node)


def dotted(path: Path) -> str:
    """A path as users write it: ``spec.http[0].route``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _without_consequences(mistakes: list[_Mistake]) -> Iterator[_Mistake]:
    """Leaves out what another mistake at the same place explains."""
    at: dict[Path, list[_Mistake]] = {}
    for mistake in mistakes:
        at.setdefault(mistake.path, []).append(mistake)
    for together in at.values():
        first = min(together, key=_order)
        meant = frozenset().union(
            *(mistake.fields for mistake in together if mistake.keyword == "additionalProperties")
        )
        for mistake in together:
            ranked = mistake.keyword in _ORDER or first.keyword == "type"
            explained = mistake.keyword in _ABSENCE and mistake.fields & meant
            if not explained and (not ranked or mistake is first):
                yield mistake


def _outermost(mistakes: list[_Mistake]) -> Iterator[_Mistake]:
    """Of those that point at one place, leaves the ones about the outermost value: what may not be there need not be right."""
    depth: dict[Span, int] = {}
    for mistake in mistakes:
        depth[mistake.span] = min(depth.get(mistake.span, len(mistake.path)), len(mistake.path))
    return (mistake for mistake in mistakes if len(mistake.path) == depth[mistake.span])


def _order(mistake: _Mistake) -> int:
    return _ORDER.index(mistake.keyword) if mistake.keyword in _ORDER else len(_ORDER)


def _mistakes(document: Document, schema: dict[str, Any], error: jsonschema_rs.ValidationError) -> Iterator[_Mistake]:
    path, keyword, value = tuple(error.instance_path), error.kind.name, error.kind.value
    rule, said = _rule(schema, error.schema_path)
    if keyword == "additionalProperties":
        yield from _unknown_fields(document, schema, path, value, sorted(rule.get("properties", ())))
    elif keyword == "required":
        yield _missing(document, path, value, said)
    elif keyword == "propertyNames":
        yield _wrong_key(document, path, value.instance, said)
    elif keyword in ("not", "anyOf"):
        yield _wrong_fields(document, path, keyword, rule[keyword], said)
    elif document.kind == "Secret" and path[:1] in (("data",), ("stringData",)):
        yield _secret(document, path)
    else:
        message, advice = wording(keyword, value, error.instance)
        if said and keyword == "type":
            advice = f"Note that {said}."
        elif said:
            message, advice = f"{shown(error.instance)} cannot stand here: {said}", ""
        place = f"{dotted(path)}: " if path else ""
        yield _Mistake(path, keyword, place + message, where(document, path), advice)


def _secret(document: Document, path: Path) -> _Mistake:
    """Content of a secret that is wrong. It is not repeated, since findings end up in logs."""
    parent = find(document.root, path[:-1])
    span = parent.key_spans[str(path[-1])] if isinstance(parent, Mapping) else where(document, path)
    return _Mistake(
        path, "type", f"{dotted(path)}: expected a string", span, "Quote the value, in base64 under `data`."
    )


def _rule(schema: dict[str, Any], schema_path: list[str | int]) -> tuple[dict[str, Any], str]:
    """The part of the schema that a keyword stands in, and the words of the rule that it belongs to ("" where it has none).

    A rule is the part itself, or the condition (``then``, ``else``) that leads to it.
    """
    said = ""
    rule: Any = schema
    for step, following in itertools.pairwise(schema_path):
        if following in ("then", "else"):
            said = rule[step].get("x-message", "")
        rule = rule[step]
    own = rule.get("x-message", "") if isinstance(rule, dict) else ""
    return rule, own or said


def _unknown_fields(
    document: Document, schema: dict[str, Any], path: Path, names: list[str], known: list[str]
) -> Iterator[_Mistake]:
    parent = find(document.root, path)
    assert isinstance(parent, Mapping)
    place = f" in {dotted(path)}" if path else ""
    for name in names[:MAX_FINDINGS]:
        home, meant = misplaced(schema, path, name), nearest(name, known)
        message, advice = f"unknown field `{name}`{place}", ""
        if home is not None:
            message += f"; it belongs in {dotted(home) or 'the resource itself'}"
        elif meant:
            message += f", did you mean `{meant}`?"
        elif len(known) <= _MOST_LISTED:
            advice = f"Known here: {', '.join(known)}."
        fields = frozenset({meant} if meant else ())
        span = parent.key_spans[name]
        # Where the right field is there too, nobody but the author knows which of the two values holds.
        edit = Edit(span, meant) if meant and home is None and meant not in parent.key_spans else None
        yield _Mistake(path, "additionalProperties", message, span, advice, fields, edit)


def _missing(document: Document, path: Path, name: str, said: str) -> _Mistake:
    parent = find(document.root, path)
    assert isinstance(parent, Mapping)
    place = dotted(path) or f"the {document.kind}"
    message, span = f"{place} has no `{name}`", where(document, path)
    if name in parent.key_spans:
        message, span = f"`{name}` of {place} has no value", parent.key_spans[name]
    if said:
        message = f"{dotted(path)}: {said}" if path else said
    return _Mistake(path, "required", message, span, f"Add `{name}`.", frozenset({name}))


def _wrong_key(document: Document, path: Path, key: object, said: str) -> _Mistake:
    parent = find(document.root, path)
    assert isinstance(parent, Mapping)
    reason = f": {said}" if said else ""
    return _Mistake(path, "propertyNames", f"`{key}` is no key of {dotted(path)}{reason}", parent.key_spans[str(key)])


def _wrong_fields(document: Document, path: Path, keyword: str, rule: Any, said: str) -> _Mistake:
    """A rule about which fields go together: ``not`` of two that exclude each other, ``anyOf`` of those of which one is needed."""
    node = find(document.root, path)
    place = f"{dotted(path)}: " if path else ""
    named = _named(rule)
    present = [name for name in named if isinstance(node, Mapping) and name in node.entries]
    span = where(document, path)
    if keyword == "not" and isinstance(node, Mapping) and present:
        span = max(node.key_spans[name] for name in present)
    if said:
        return _Mistake(path, keyword, place + said, span, "", frozenset(named))
    names = " and ".join(f"`{name}`" for name in (present if keyword == "not" else named))
    if keyword == "not" and len(present) > 1:
        return _Mistake(path, keyword, f"{place}{names} exclude each other", span, "Keep one of them.")
    if keyword == "not":
        return _Mistake(path, keyword, f"{place}{names or 'this value'} may not stand here", span, "Remove it.")
    return _Mistake(
        path, keyword, f"{place}one of {names.replace(' and ', ', ')} is needed", span, "", frozenset(named)
    )


def _named(rule: Any) -> list[str]:
    """The fields that a combination of ``required`` is about."""
    if isinstance(rule, list):
        return [name for part in rule for name in _named(part)]
    if not isinstance(rule, dict):
        return []
    names: list[str] = list(rule.get("required", ()))
    for keyword in ("anyOf", "allOf", "not"):
        names += _named(rule.get(keyword))
    return names


def _first_line(node: Node) -> Span:
    span = node.span
    if isinstance(node, Mapping) and node.key_spans:
        return min(node.key_spans.values())
    if isinstance(node, Sequence):
        return Span(span.file, span.line, span.column, span.line, span.column + 1)
    return span
