"""VirtualService: how requests to hosts are routed, before any host is looked up."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Located, Positions
from compiler.resources.http_action import (
    Rewriting,
    keeps_request_port,
    read_cors,
    read_direct_response,
    read_fault,
    read_redirect,
    read_retry,
    read_rewriting,
)
from compiler.resources.matches import (
    claim_path,
    header_edits,
    header_match,
    path_match,
    share,
    string_match,
    without_header,
)
from compiler.resources.meta import BY_DEFAULT, Meta, open_document
from policies.match import ClaimMatch, HeaderMatch, QueryMatch, RouteMatch
from policies.source import SourceRef
from policies.traffic import Cors, DirectResponse, Fault, HeaderEdits, Redirect, Retry

MESH = "mesh"
"""The reserved gateway name that means all sidecars."""


class Target(msgspec.Struct, frozen=True):
    """A ``destination`` as written. ``port`` is 0 where it is left to the service."""

    host: Located
    subset: Located | None
    port: int
    source: SourceRef
    span: Span


class WeightedTarget(msgspec.Struct, frozen=True):
    """One entry of ``route``. ``authority`` is what its header operations make of the request's authority."""

    target: Target
    weight: int
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    authority: str | None = None


class MirrorTarget(msgspec.Struct, frozen=True):
    """Where copies of a share of requests go."""

    target: Target
    per_million: int


class Scope(msgspec.Struct, frozen=True):
    """What of a match is known when a proxy's slice is linked: port, the proxy's labels and namespace, the gateways."""

    port: int = 0
    source_labels: Labels = ()
    source_namespace: str = ""
    gateways: tuple[Located, ...] = ()


class HttpMatch(msgspec.Struct, frozen=True):
    """One entry of ``http[].match``: what is asked of a request, and of the proxy."""

    match: RouteMatch
    scope: Scope
    name: str
    source: SourceRef
    span: Span


class DelegateRef(msgspec.Struct, frozen=True):
    """The VirtualService that a rule leaves its requests to."""

    namespace: str
    name: str
    span: Span


class HttpRule(msgspec.Struct, frozen=True):
    """One entry of ``http``. Exactly one of ``redirect``, ``direct``, ``targets`` and ``delegate`` is the action.

    ``redirect_to_request_port`` asks for the port of the listener, which the redirect cannot hold before link. ``namespace`` is where
    short names are completed, where that is not the VirtualService's own. ``timeout_ms`` is None where none is written.
    """

    name: str
    source: SourceRef
    span: Span
    matches: tuple[HttpMatch, ...]
    targets: tuple[WeightedTarget, ...]
    redirect: Redirect | None
    redirect_to_request_port: bool
    direct: DirectResponse | None
    rewriting: Rewriting | None
    request_headers: HeaderEdits
    response_headers: HeaderEdits
    authority: str | None
    fault: Fault | None
    timeout_ms: int | None
    retry: Retry | None
    mirrors: tuple[MirrorTarget, ...] = ()
    cors: Cors | None = None
    delegate: DelegateRef | None = None
    namespace: str = ""


class ConnectionMatch(msgspec.Struct, frozen=True):
    """One entry of ``tls[].match`` or ``tcp[].match``."""

    server_names: tuple[str, ...]
    scope: Scope
    networks: tuple[str, ...] = ()


class ConnectionRule(msgspec.Struct, frozen=True):
    """One entry of ``tls`` or ``tcp``: connections to targets by weight."""

    matches: tuple[ConnectionMatch, ...]
    targets: tuple[WeightedTarget, ...]
    source: SourceRef
    span: Span


class VirtualService(msgspec.Struct, frozen=True):
    """A VirtualService. ``gateways`` empty means the mesh."""

    meta: Meta
    hosts: tuple[Located, ...]
    gateways: tuple[Located, ...]
    export_to: tuple[str, ...]
    http: tuple[HttpRule, ...]
    tls: tuple[ConnectionRule, ...]
    tcp: tuple[ConnectionRule, ...]


def read_virtual_service(document: Document, positions: Positions) -> VirtualService:
    """A VirtualService document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    return VirtualService(
        meta=meta,
        hosts=spec.references("hosts"),
        gateways=spec.references("gateways"),
        export_to=spec.texts("exportTo") or BY_DEFAULT,
        http=tuple(_http_rule(rule, meta.namespace) for rule in spec.each("http")),
        tls=tuple(_connection_rule(rule) for rule in spec.each("tls")),
        tcp=tuple(_connection_rule(rule) for rule in spec.each("tcp")),
    )


def _http_rule(rule: Cursor, namespace: str) -> HttpRule:
    headers = rule.at("headers")
    request, authority = header_edits(headers.at("request") if headers else None)
    response, _ = header_edits(headers.at("response") if headers else None)
    return HttpRule(
        name=rule.text("name"),
        source=rule.source(),
        span=rule.span,
        matches=tuple(_http_match(match) for match in rule.each("match")),
        targets=_targets(rule),
        redirect=read_redirect(rule.at("redirect")),
        redirect_to_request_port=keeps_request_port(rule.at("redirect")),
        direct=read_direct_response(rule.at("directResponse")),
        rewriting=read_rewriting(rule.at("rewrite")),
        request_headers=request,
        response_headers=response,
        authority=authority,
        fault=read_fault(rule.at("fault")),
        timeout_ms=rule.duration_ms("timeout"),
        retry=read_retry(rule.at("retries")),
        mirrors=tuple(_mirrors(rule)),
        cors=read_cors(rule.at("corsPolicy")),
        delegate=_delegate(rule.at("delegate"), namespace),
    )


def _delegate(delegate: Cursor | None, namespace: str) -> DelegateRef | None:
    if delegate is None:
        return None
    return DelegateRef(delegate.text("namespace") or namespace, delegate.text("name"), delegate.span)


def _targets(rule: Cursor) -> tuple[WeightedTarget, ...]:
    routes = rule.each("route")
    return tuple(_weighted_target(route, alone=len(routes) == 1) for route in routes)


def _weighted_target(route: Cursor, *, alone: bool) -> WeightedTarget:
    destination = route.at("destination")
    assert destination is not None
    headers = route.at("headers")
    request, authority = header_edits(headers.at("request") if headers else None)
    response, _ = header_edits(headers.at("response") if headers else None)
    return WeightedTarget(
        target=read_target(destination),
        weight=1 if alone else route.number("weight"),
        request_headers=request,
        response_headers=response,
        authority=authority,
    )


def read_target(destination: Cursor) -> Target:
    host = destination.located("host")
    assert host is not None
    port = destination.at("port")
    return Target(
        host=host,
        subset=destination.located("subset"),
        port=port.number("number") if port else 0,
        source=destination.source(),
        span=destination.span,
    )


def _mirrors(rule: Cursor) -> Iterator[MirrorTarget]:
    """``mirror`` with the share that stands beside it, or ``mirrors``, each with its own."""
    single = rule.at("mirror")
    if single is not None:
        yield MirrorTarget(read_target(single), share(rule, "mirrorPercentage", "mirrorPercent", "mirror_percent"))
    for mirror in rule.each("mirrors"):
        destination = mirror.at("destination")
        if destination is not None:
            yield MirrorTarget(read_target(destination), share(mirror, "percentage"))


def _scope(match: Cursor) -> Scope:
    return Scope(
        port=match.number("port"),
        source_labels=match.labels("sourceLabels"),
        source_namespace=match.text("sourceNamespace"),
        gateways=match.references("gateways"),
    )


def _http_match(match: Cursor) -> HttpMatch:
    uri = match.at("uri")
    headers: list[HeaderMatch] = []
    claims: list[ClaimMatch] = []
    for name, value in match.entries("headers"):
        path = claim_path(name)
        if path:
            claims.append(ClaimMatch(path, header_match(value)))
        else:
            headers.append(HeaderMatch(name.lower(), header_match(value)))
    for name, value in match.entries("withoutHeaders"):
        path = claim_path(name)
        if path:
            claims.append(ClaimMatch(path, header_match(value), invert=True))
        else:
            headers += without_header(name.lower(), header_match(value))
    texts = {key: match.at(key) for key in ("scheme", "method", "authority")}
    asked = {key: string_match(value) for key, value in texts.items() if value is not None}
    return HttpMatch(
        match=RouteMatch(
            path=path_match(uri, ignore_case=match.flag("ignoreUriCase")) if uri else None,
            method=asked.get("method"),
            scheme=asked.get("scheme"),
            authority=asked.get("authority"),
            headers=tuple(headers),
            query=tuple(QueryMatch(name, string_match(value)) for name, value in match.entries("queryParams")),
            claims=tuple(claims),
        ),
        scope=_scope(match),
        name=match.text("name"),
        source=match.source(),
        span=match.span,
    )


def _connection_rule(rule: Cursor) -> ConnectionRule:
    matches = tuple(
        ConnectionMatch(match.texts("sniHosts"), _scope(match), match.texts("destinationSubnets"))
        for match in rule.each("match")
    )
    return ConnectionRule(matches=matches, targets=_targets(rule), source=rule.source(), span=rule.span)


def targets_of(service: VirtualService) -> Iterator[Target]:
    """Every destination of a VirtualService's routes; where it mirrors to is no destination of a request."""
    for rule in service.http:
        yield from (weighted.target for weighted in rule.targets)
    for connections in (*service.tls, *service.tcp):
        yield from (weighted.target for weighted in connections.targets)
