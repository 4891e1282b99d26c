"""What a kind's schema asks and JSON Schema cannot say.

- ``x-unique`` on a list: sets of fields of which no two items may have the same values. A field that is absent is equal to another
  absent one; ``field!`` leaves out items that lack it, and a dot leads into the item.
- ``format``: ``re2`` is an expression that RE2 compiles, ``ip-block`` an address or a CIDR block, ``jwk-set`` a JSON Web Key Set.
- ``x-weft-rules``: expressions over the fields of one object (compiler/cel_rules.py).
- A map's value may not be null. Kubernetes would drop the key, and a selector or match without one of its keys selects more.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import re2

from compiler.catalog import diagnostic
from compiler.cel_rules import check_cel_rules
from compiler.diagnostic import Diagnostic, Related, ResourceId
from compiler.mistakes import Path, dotted, where
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.route_rules import ROUTES, check_route

Schema = dict[str, Any]


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
        elif isinstance(spot.node, Mapping):
            found += _without_value(document, spot)
        elif "format" in spot.schema:
            found += _malformed(document, spot)
    if document.kind in ROUTES:
        found += check_route(document)
    return found


def _spots(root: Schema, top: Node) -> Iterator[_Spot]:
    """Every node that the schema describes field by field, from the top."""
    waiting: list[_Spot] = [_Spot(root, top, ())]
    while waiting:
        schema, node, path = waiting.pop()
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        yield _Spot(schema, node, path)
        if isinstance(node, Sequence):
            items = schema.get("items")
            waiting += [_Spot(items, item, (*path, index)) for index, item in enumerate(node) if items]
        elif isinstance(node, Mapping):
            fields, others = schema.get("properties", {}), schema.get("additionalProperties")
            for name, value in node.entries.items():
                inner = fields.get(name, others)
                # Labels and annotations of the object itself select nothing.
                if isinstance(inner, dict) and name != "metadata":
                    waiting.append(_Spot(inner, value, (*path, name)))


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
    text = str(spot.node.value)
    problem = ""
    if spot.schema["format"] == "re2":
        problem = _regex_problem(text)
    elif spot.schema["format"] == "ip-block":
        problem = _block_problem(text)
    elif spot.schema["format"] == "jwk-set":
        problem = _keys_problem(text)
    if problem:
        message = f"{dotted(spot.path)}: `{text}` is not {problem}"
        yield diagnostic("IST0106", message, spot.node.span, resource=_about(document), help="")


def _regex_problem(pattern: str) -> str:
    # A lone star is no expression, but a header's match may say so for "present" (Istio); analysis refuses it everywhere else.
    if pattern == "*":
        return ""
    try:
        re2.compile(pattern, _QUIET)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        return f"an expression that RE2 takes: {reason}"
    return ""


def _block_problem(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "an IP address or a CIDR block, for example 10.0.0.0/8"
    return ""


def _keys_problem(text: str) -> str:
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "a JSON Web Key Set: JSON with a list `keys`"
    return "" if isinstance(keys, list) else "a JSON Web Key Set: its `keys` are no list"


def _about(document: Document) -> ResourceId:
    return ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)


def _quiet() -> Any:
    """RE2 would write its errors to standard error too."""
    options = re2.Options()
    options.log_errors = False
    return options


_QUIET = _quiet()
