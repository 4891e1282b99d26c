"""What a kind's schema asks and JSON Schema cannot say.

- ``x-unique`` on a list: sets of fields of which no two items may have the same values. A field that is absent is equal to another
  absent one; ``field!`` leaves out items that lack it, and a dot leads into the item.
- ``format``: one of those that compiler/formats.py judges.
- ``x-weft-rules``: expressions over the fields of one object (compiler/cel_rules.py).
- ``x-disjoint``: localities of which none may overlap with another: the field of that name of each item of a list, or ("") the keys of a map.
- ``x-sum``: what the values of a map add up to.
- A map's value may not be null. Kubernetes would drop the key, and a selector or match without one of its keys selects more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from compiler.catalog import diagnostic
from compiler.cel_rules import check_cel_rules
from compiler.diagnostic import Diagnostic, Related, ResourceId, Span
from compiler.formats import problem
from compiler.istio_rules import ISTIO_RULES, check_istio
from compiler.localities import first_bad
from compiler.mistakes import Path, dotted, where
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.route_rules import ROUTES, check_route
from compiler.wording import shown

Schema = dict[str, Any]


_ABOUT_SCALARS = frozenset({"$ref", "format", "x-weft-rules"})


class _Spot(NamedTuple):
    """A node of a document with the part of the schema that describes it."""

    schema: Schema
    node: Node
    path: Path


def check_rules(document: Document, schema: Schema, *, shape_is_right: bool) -> list[Diagnostic]:
    """What a document gets wrong beside its shape; ``shape_is_right`` says whether its schema accepts it."""
    found: list[Diagnostic] = []
    for spot in _spots(schema, document.root):
        if rules := spot.schema.get("x-weft-rules"):
            found += check_cel_rules(document, rules, spot.node.plain(), spot.path, shape_is_right=shape_is_right)
        if isinstance(spot.node, Sequence):
            for fields in spot.schema.get("x-unique", ()):
                found += _repeated(document, spot, fields)
            found += _overlapping(document, spot)
        elif isinstance(spot.node, Mapping):
            found += _without_value(document, spot)
            found += _overlapping(document, spot)
            found += _not_the_sum(document, spot)
        elif "format" in spot.schema:
            found += _malformed(document, spot)
    if document.kind in ROUTES:
        found += check_route(document)
    if document.kind in ISTIO_RULES and document.api_version.partition("/")[0].endswith("istio.io"):
        found += check_istio(document)
    return found


def _spots(root: Schema, top: Node) -> Iterator[_Spot]:
    """Every node that the schema describes field by field, from the top."""
    waiting: list[_Spot] = [_Spot(root, top, ())]
    while waiting:
        schema, node, path = waiting.pop()
        if "$ref" in schema:
            beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
            schema = {**root["$defs"][schema["$ref"].rpartition("/")[2]], **beside}
        yield _Spot(schema, node, path)
        if isinstance(node, Sequence):
            items = schema.get("items")
            if items:
                waiting += [
                    _Spot(items, item, (*path, index)) for index, item in enumerate(node) if _is_judged(items, item)
                ]
        elif isinstance(node, Mapping):
            fields, others = schema.get("properties", {}), schema.get("additionalProperties")
            for name, value in node.entries.items():
                inner = fields.get(name, others)
                # Labels and annotations of the object itself select nothing.
                if isinstance(inner, dict) and name != "metadata" and _is_judged(inner, value):
                    waiting.append(_Spot(inner, value, (*path, name)))


def _is_judged(schema: Schema, node: Node) -> bool:
    """Whether there may be something to say: of most scalars the shape is all, and most nodes are scalars."""
    return not isinstance(node, Scalar) or not _ABOUT_SCALARS.isdisjoint(schema)


def _repeated(document: Document, spot: _Spot, fields: list[str]) -> Iterator[Diagnostic]:
    assert isinstance(spot.node, Sequence)
    names = [field.rstrip("!") for field in fields]
    needed = [field.rstrip("!") for field in fields if field.endswith("!")]
    seen: dict[tuple[object, ...], int] = {}
    for index, item in enumerate(spot.node):
        values = {name: _value(item, name) for name in names}
        if any(values[name] is None for name in needed) or not any(value is not None for value in values.values()):
            continue
        key = tuple(values.values())
        if key not in seen:
            seen[key] = index
            continue
        same = " and ".join(f"{name} `{value}`" for name, value in values.items() if value is not None)
        first = where(document, (*spot.path, seen[key], *names[0].split(".")))
        yield diagnostic(
            "IST0106",
            f"{dotted(spot.path)}: a second entry has the {same}",
            where(document, (*spot.path, index, *names[0].split("."))),
            resource=_about(document),
            related=(Related(span=first, message="the first one"),),
            help="Change or remove one of the two.",
        )


def _value(item: Node, field: str) -> object:
    node = find(item, tuple(field.split(".")))
    return node.value if isinstance(node, Scalar) else None


def _overlapping(document: Document, spot: _Spot) -> Iterator[Diagnostic]:
    field = spot.schema.get("x-disjoint")
    if field is None:
        return
    steps: list[Path]
    if isinstance(spot.node, Mapping):
        steps, names = [(name,) for name in spot.node.entries], list(spot.node.entries)
    else:
        assert isinstance(spot.node, Sequence)
        steps = [(index, field) for index in range(len(spot.node))]
        names = [str(_value(item, field) or "") for item in spot.node]
    bad = first_bad(names)
    if bad is None:
        return
    related: tuple[Related, ...] = ()
    if bad.first is not None:
        related = (Related(span=_place(document, spot, steps[bad.first]), message="the first one"),)
    message = f"{dotted(spot.path)}: {bad.problem}"
    span = _place(document, spot, steps[bad.at])
    yield diagnostic("IST0106", message, span, resource=_about(document), related=related)


def _place(document: Document, spot: _Spot, steps: Path) -> Span:
    """A key of a map, or what stands in an item of a list."""
    if isinstance(spot.node, Mapping):
        return spot.node.key_spans[str(steps[0])]
    return where(document, (*spot.path, *steps))


def _not_the_sum(document: Document, spot: _Spot) -> Iterator[Diagnostic]:
    wanted = spot.schema.get("x-sum")
    if wanted is None:
        return
    assert isinstance(spot.node, Mapping)
    values = [value.value for value in spot.node.entries.values() if isinstance(value, Scalar)]
    total = sum(value for value in values if isinstance(value, int))
    if total != wanted:
        message = f"{dotted(spot.path)}: the shares add up to {total}, not {wanted}"
        yield diagnostic("IST0106", message, where(document, spot.path), resource=_about(document))


def _without_value(document: Document, spot: _Spot) -> Iterator[Diagnostic]:
    assert isinstance(spot.node, Mapping)
    if not isinstance(spot.schema.get("additionalProperties"), dict):
        return
    for name in spot.node.key_spans.keys() - spot.node.entries.keys():
        yield diagnostic(
            "IST0106",
            f"`{name}` of {dotted(spot.path)} has no value",
            spot.node.key_spans[name],
            resource=_about(document),
            help='Give it a value (an empty string is written ""), or remove the key.',
        )


def _malformed(document: Document, spot: _Spot) -> Iterator[Diagnostic]:
    assert isinstance(spot.node, Scalar)
    value, name = spot.node.value, spot.schema["format"]
    # What has another type than the format is about is the shape's mistake.
    right_type = isinstance(value, int) if name == "prime" else isinstance(value, str)
    wrong = problem(name, str(value)) if right_type else ""
    if wrong:
        message = f"{dotted(spot.path)}: {shown(value)} is not {wrong}"
        yield diagnostic("IST0106", message, spot.node.span, resource=_about(document), help="")


def _about(document: Document) -> ResourceId:
    return ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)
