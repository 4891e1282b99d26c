"""RateLimit (weft/v1): what is limited, and the limits as policies have them."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Located, Positions
from compiler.resources.matches import path_match, string_match
from compiler.resources.meta import GATEWAY_API, Meta, open_document
from policies.limits import LimitKey, RateLimit
from policies.match import Exact, HeaderMatch, RouteMatch

_ON = {"Identity": "identity", "Header": "header", "SourceAddress": "source", "Method": "method", "Path": "path"}
TOO_MANY_REQUESTS = 429


class LimitTarget(msgspec.Struct, frozen=True):
    """One targetRef. ``kind`` is the kind as sources name it; ``section`` is a part of the target by its name, "" for all of it."""

    kind: str
    name: Located
    section: str


class Limits(msgspec.Struct, frozen=True):
    """A RateLimit. Its targets stand in its own namespace."""

    meta: Meta
    targets: tuple[LimitTarget, ...]
    limits: tuple[RateLimit, ...]


def read_rate_limit(document: Document, positions: Positions) -> Limits:
    """A RateLimit document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    status = spec.number("status", TOO_MANY_REQUESTS)
    return Limits(
        meta,
        tuple(_target(item) for item in spec.each("targetRefs")),
        tuple(_limit(item, status, headers=spec.flag("responseHeaders")) for item in spec.each("limits")),
    )


def _target(item: Cursor) -> LimitTarget:
    kind, name = item.text("kind"), item.located("name")
    assert name is not None, "the schema asks for it"
    shown = f"Gateway.{GATEWAY_API}" if kind == "Gateway" and item.text("group") == GATEWAY_API else kind
    return LimitTarget(shown, name, item.text("sectionName"))


def _limit(item: Cursor, status: int, *, headers: bool) -> RateLimit:
    requests = item.number("requests")
    match = item.at("match")
    identity = match.at("identity") if match is not None else None
    return RateLimit(
        item.source(),
        requests,
        item.duration_ms("per") or 1,
        item.number("burst", requests),
        _match(match) if match is not None else RouteMatch(),
        string_match(identity) if identity is not None else None,
        tuple(LimitKey(_ON[key.text("type")], key.text("name").lower()) for key in item.each("by")),
        status,
        headers,
    )


def _match(match: Cursor) -> RouteMatch:
    path, method = match.at("path"), match.text("method")
    return RouteMatch(
        path=path_match(path, ignore_case=False) if path is not None else None,
        method=Exact(method) if method else None,
        headers=tuple(HeaderMatch(name.lower(), string_match(value)) for name, value in match.entries("headers")),
    )
