"""TLSRoute, TCPRoute and UDPRoute: where connections and datagrams go, by server name or by listener alone."""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.api_route import ParentRef, read_parents
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.http_route import BackendRef, read_backend
from compiler.resources.meta import Meta, open_document
from policies.source import SourceRef


class ConnectionRouteRule(msgspec.Struct, frozen=True):
    """One rule: connections to backends by weight."""

    backends: tuple[BackendRef, ...]
    source: SourceRef
    span: Span


class ConnectionRoute(msgspec.Struct, frozen=True):
    """A TLSRoute, a TCPRoute or a UDPRoute. The first rule holds for everything, because nothing tells rules apart (TLSRouteRule and the others)."""

    meta: Meta
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    rules: tuple[ConnectionRouteRule, ...]


def read_connection_route(document: Document, positions: Positions) -> ConnectionRoute:
    """A TLSRoute, TCPRoute or UDPRoute document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    hostnames = tuple(dict.fromkeys(host.lower() for host in spec.texts("hostnames")))
    rules = tuple(_rule(rule, meta.namespace) for rule in spec.each("rules"))
    return ConnectionRoute(meta, read_parents(spec, meta.namespace), hostnames, rules)


def _rule(rule: Cursor, namespace: str) -> ConnectionRouteRule:
    backends = tuple(read_backend(backend, namespace) for backend in rule.each("backendRefs"))
    return ConnectionRouteRule(backends, rule.source(), rule.span)
