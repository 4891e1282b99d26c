"""GRPCRoute as an HTTPRoute: a method is a path, ``/service/method`` (gRPC over HTTP/2), and everything else is the same."""

from __future__ import annotations

import re

from compiler.node import Document
from compiler.resources.api_route import read_parents
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.http_route import HttpRoute, read_rule
from compiler.resources.meta import open_document
from policies.match import PathExact, PathMatch, PathPrefix, PathRegex

_ANY = "[^/]+"


def read_grpc_route(document: Document, positions: Positions) -> HttpRoute:
    """A GRPCRoute document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    hostnames = tuple(dict.fromkeys(host.lower() for host in spec.texts("hostnames")))
    rules = tuple(read_rule(rule, meta.namespace, _path) for rule in spec.each("rules"))
    return HttpRoute(meta, read_parents(spec, meta.namespace), hostnames, rules)


def _path(match: Cursor) -> PathMatch:
    """The path of a match's method; what is not written may be anything (GRPCMethodMatch)."""
    asked = match.at("method")
    service, method = (asked.text("service"), asked.text("method")) if asked else ("", "")
    if not service and not method:
        return PathPrefix("/")
    if asked is not None and asked.text("type", "Exact") == "RegularExpression":
        return PathRegex(f"/(?:{service or _ANY})/(?:{method or _ANY})")
    if not service:
        return PathRegex(f"/{_ANY}/{re.escape(method)}")
    return PathExact(f"/{service}/{method}") if method else PathPrefix(f"/{service}/")
