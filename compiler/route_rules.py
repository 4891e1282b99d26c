"""What the Gateway API asks of one route across its fields, and an expression over one value cannot say: defaults and units matter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId
from compiler.mistakes import Path, where
from compiler.node import Document, Node, Scalar, Sequence, find

_MOST_MATCHES = 128
_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


ROUTES = frozenset({"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"})


def check_route(document: Document) -> Iterator[Diagnostic]:
    """The mistakes of a route that its schema accepts."""
    yield from _same_parents(document)
    yield from _too_many_matches(document)
    yield from _timeouts(document)


def _same_parents(document: Document) -> Iterator[Diagnostic]:
    """Of two references to one parent both name a section or neither does, both a port or neither, and not the same ones."""
    parents = find(document.root, ("spec", "parentRefs"))
    first: dict[tuple[object, ...], tuple[int, set[tuple[object, object]]]] = {}
    for index, parent in enumerate(parents if isinstance(parents, Sequence) else ()):
        target = (
            _text(parent, "group", "gateway.networking.k8s.io"),
            _text(parent, "kind", "Gateway"),
            _text(parent, "namespace", document.namespace),
            _text(parent, "name", ""),
        )
        part = (_text(parent, "sectionName", None), _text(parent, "port", None))
        at, parts = first.setdefault(target, (index, set()))
        if parts and any((part[0] is None, part[1] is None) != (one is None, two is None) for one, two in parts):
            message = f"a second reference to `{target[3]}`: either all of them have `sectionName` (or `port`), or none"
            yield _finding(document, message, ("spec", "parentRefs", index, "name"), at)
        elif part in parts:
            message = f"a second reference to the same part of `{target[3]}`"
            yield _finding(document, message, ("spec", "parentRefs", index, "name"), at)
        parts.add(part)


def _finding(document: Document, message: str, path: Path, first: int) -> Diagnostic:
    return diagnostic(
        "IST0106",
        message,
        where(document, path),
        resource=_about(document),
        related=(Related(span=where(document, ("spec", "parentRefs", first, "name")), message="the first one"),),
        help="Give each a different `sectionName` or `port`.",
    )


def _too_many_matches(document: Document) -> Iterator[Diagnostic]:
    """All rules of a route together have at most 128 matches."""
    total = 0
    for index, rule in enumerate(_items(document.root, "spec", "rules")):
        before, total = total, total + len(_items(rule, "matches"))
        if before <= _MOST_MATCHES < total:
            message = f"the rules up to this one have {total} matches; a route has at most {_MOST_MATCHES}"
            span = where(document, ("spec", "rules", index, "matches"))
            yield diagnostic("IST0106", message, span, resource=_about(document), help="Split the route.")


def _items(node: Node, *path: str) -> list[Node]:
    found = find(node, path)
    return list(found) if isinstance(found, Sequence) else []


def _timeouts(document: Document) -> Iterator[Diagnostic]:
    rules = find(document.root, ("spec", "rules"))
    for index in range(len(rules) if isinstance(rules, Sequence) else 0):
        path: Path = ("spec", "rules", index, "timeouts")
        timeouts = find(document.root, path)
        whole, each = _milliseconds(timeouts, "request"), _milliseconds(timeouts, "backendRequest")
        if whole and each and each > whole:
            message = "the time-out of each try (`backendRequest`) is longer than that of the whole request (`request`)"
            span = where(document, (*path, "backendRequest"))
            yield diagnostic("IST0106", message, span, resource=_about(document), help="Shorten one of them.")


def _milliseconds(timeouts: Node | None, field: str) -> int:
    """A Gateway API duration; 0 where there is none (and 0 means no limit)."""
    text = _text(timeouts, field, None)
    return sum(int(number) * _UNITS_MS[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", str(text or "")))


def _text(node: Node | None, field: str, default: object) -> object:
    found = find(node, (field,))
    return found.value if isinstance(found, Scalar) else default


def _about(document: Document) -> ResourceId:
    return ResourceId(kind=document.kind, namespace=document.namespace, name=document.name)
