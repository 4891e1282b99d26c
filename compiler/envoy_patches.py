"""What an EnvoyFilter's patches ask for, and which resource says the same without Envoy's configuration.

A patch is written against the configuration that Istio generates for Envoy. weft's proxies have none, so no patch is carried over, now or
later; each is answered with what serves its purpose, read from the filter that it names, the fields that it sets and what it does
(``compiler.envoy_answers`` is the table).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId
from compiler.envoy_answers import ADDED, CONFIGURED, FIELDS, FILTERS, PARTS, REMOVED, WITHOUT, Instead, nothing
from compiler.mistakes import Path, where
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find

Refused = Callable[[str, str], bool]
Answers = dict[Instead, list[str]]
_EXTENSION = re.compile(r"filters\.[a-z_]+\.([a-z_0-9]+)\.v\d")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMING = frozenset({"@type", "name", "type_url", "typed_config", "value", "stat_prefix"})
_FILTERS = frozenset({"NETWORK_FILTER", "HTTP_FILTER", "EXTENSION_CONFIG", "LISTENER_FILTER"})
_DEEP = frozenset({"route"})
"""Fields whose own fields say what they are about."""


def answer_patches(document: Document, refused: Refused, code: str, about: ResourceId) -> Iterator[Diagnostic]:
    """One finding of ``code`` per patch, at what it applies to. ``refused`` says whether a kind's path is not carried yet."""
    patches = find(document.root, ("spec", "configPatches"))
    for index, patch in enumerate(patches if isinstance(patches, Sequence) else ()):
        part, name = _text(patch, "applyTo"), _filter_name(patch)
        operation, context = _text(patch, "patch", "operation"), _text(patch, "match", "context")
        place: Path = ("spec", "configPatches", index)
        target = f"{part or 'no named part'} `{name}`" if name else part or "no named part"
        called = f"{operation} of {target}" if operation else target
        yield diagnostic(
            code,
            f"the patch ({called}) cannot be carried over: weft's proxies have no Envoy configuration to patch",
            where(document, (*place, "applyTo") if part else place),
            resource=about,
            help=_advice(_answers(patch, part, name, operation), refused) + _scope(context, operation),
        )


def _answers(patch: Node, part: str, name: str, operation: str) -> Answers:
    """What serves a patch, each with the fields that it is for; none where the patch as a whole is meant."""
    if operation == "REMOVE":
        return {REMOVED.get(part, WITHOUT): []}
    value = find(patch, ("patch", "value"))
    config = find(value, ("typed_config",)) if isinstance(value, Mapping) else None
    if part in _FILTERS:
        kinds = _kinds(name, config)
        fields = next((table for word, table in CONFIGURED if _named(word, kinds)), None)
        if fields is not None:
            return _by_field(config, fields) or {nothing(): []}
        return {next((row for word, row in FILTERS if _named(word, kinds)), PARTS[part]): []}
    if operation == "ADD" and part in ADDED:
        return {ADDED[part]: []}
    per_filter = _per_filter(value)
    return (_by_field(value, FIELDS.get(part, {})) | per_filter) or {PARTS.get(part, nothing()): []}


def _kinds(name: str, config: Node | None) -> list[str]:
    """What a patch says that its filter is: the last part of its name, and the extension in its configuration's type.

    ``...filters.http.local_ratelimit.v3.LocalRateLimit`` is the type of the extension ``local_ratelimit``.
    """
    types = [_text(config, "type_url"), _text(config, "@type")] if isinstance(config, Mapping) else []
    extensions = [match.group(1) for one in types if (match := _EXTENSION.search(one))]
    return [_snake(one) for one in (*extensions, name.rpartition(".")[2]) if one]


def _named(word: str, kinds: list[str]) -> bool:
    """Whether a word stands in one of the names, not only as a part of another word."""
    return any(re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9])", kind) for kind in kinds)


def _by_field(value: Node | None, table: dict[str, Instead]) -> Answers:
    found: Answers = {}
    for field in _fields(value):
        found.setdefault(table.get(field, nothing()), []).append(field)
    return found


def _fields(value: Node | None) -> Iterator[str]:
    """The fields that a patch sets, in snake case, those of ``route`` by two steps."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.entries.items():
        field = _snake(key)
        if field in _DEEP and isinstance(inner, Mapping):
            yield from (f"{field}.{_snake(one)}" for one in inner.entries)
        elif field not in _NAMING and field != "typed_per_filter_config":
            yield field


def _per_filter(value: Node | None) -> Answers:
    """What the per-filter settings of a route or a virtual host are about."""
    settings = (
        next((inner for key, inner in value.entries.items() if _snake(key) == "typed_per_filter_config"), None)
        if isinstance(value, Mapping)
        else None
    )
    found: Answers = {}
    for name in settings.entries if isinstance(settings, Mapping) else ():
        kinds = [_snake(name.rpartition(".")[2])]
        row = next((row for word, row in FILTERS if _named(word, kinds)), nothing())
        found.setdefault(row, []).append(name)
    return found


def _advice(answers: Answers, refused: Refused) -> str:
    """One sentence per answer. A single answer to the whole patch names no fields."""
    return " ".join(_sentence(row, fields, refused) for row, fields in answers.items())


def _sentence(row: Instead, fields: list[str], refused: Refused) -> str:
    which = ", ".join(f"`{field}`" for field in fields)
    if not row.words:
        said = f"Nothing does what {which} {'do' if len(fields) > 1 else 'does'}" if which else "Nothing does this"
        return f"{said}: {row.why}." if row.why else f"{said}; remove it."
    yet = " (this version does not carry that yet)" if row.kind and refused(row.kind, row.path) else ""
    return f"Use {row.words}{f' for {which}' if which else ''}{yet}."


def _scope(context: str, operation: str) -> str:
    """How a patch's context is said: sidecars and gateways are chosen by what a resource is bound to."""
    if operation == "REMOVE":
        return ""
    if context == "GATEWAY":
        return " Bind it to the gateway (`gateways`, `parentRefs`, `targetRefs` or a selector)."
    if context == "SIDECAR_INBOUND":
        return " Put it beside the workload and select it: it is for what the workload receives."
    return ""


def _filter_name(patch: Node) -> str:
    """The filter that a patch adds, else the one that it changes; "" where it names none."""
    changed = ("match", "listener", "filterChain", "filter")
    if _text(patch, "applyTo") not in _FILTERS:
        return ""
    names = (
        _text(patch, "patch", "value", "name"),
        _text(patch, *changed, "subFilter", "name"),
        _text(patch, *changed, "name"),
        _text(patch, "match", "listener", "listenerFilter"),
    )
    return next((name for name in names if name), "")


def _snake(name: str) -> str:
    return _HUMP.sub("_", name).lower()


def _text(node: Node, *path: str) -> str:
    found = find(node, path)
    return found.value if isinstance(found, Scalar) and isinstance(found.value, str) else ""
