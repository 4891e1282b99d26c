"""HTTPRoute: Gateway API's routes, before they are attached to listeners or services."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.api_route import ParentRef, read_parents
from compiler.resources.cursor import Cursor, Located, Positions
from compiler.resources.gateway_api import ObjectRef, object_ref
from compiler.resources.http_action import DEFAULT_RETRY
from compiler.resources.meta import Meta, open_document
from policies.match import (
    Exact,
    HeaderMatch,
    PathExact,
    PathMatch,
    PathRegex,
    PathSegments,
    Present,
    QueryMatch,
    Regex,
    RouteMatch,
    StringMatch,
)
from policies.source import SourceRef
from policies.traffic import PER_MILLION, Cors, HeaderEdits, Redirect, Retry, Rewrite

CARRIED_FILTERS = frozenset(
    {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror", "CORS"}
)


class MirrorRef(msgspec.Struct, frozen=True):
    """Where copies of a share of requests go; ``port`` is 0 where none is written."""

    target: ObjectRef
    port: int
    per_million: int


class Filters(msgspec.Struct, frozen=True):
    """The filters of a rule or a backend. ``unknown`` are types that this version does not carry, with their places."""

    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    authority: str | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[MirrorRef, ...] = ()
    cors: Cors | None = None
    unknown: tuple[Located, ...] = ()


class BackendRef(msgspec.Struct, frozen=True):
    """One backend; ``port`` is 0 where none is written."""

    target: ObjectRef
    port: int
    weight: int
    filters: Filters
    source: SourceRef


class RouteRule(msgspec.Struct, frozen=True):
    """One rule: any of ``matches`` (with their sources), then ``filters``, then the backends. ``per_try_ms`` is how long one try may take (0: as
    long as it likes), also where retries are the mesh's."""

    name: str
    matches: tuple[tuple[RouteMatch, SourceRef], ...]
    filters: Filters
    backends: tuple[BackendRef, ...]
    timeout_ms: int
    retry: Retry | None
    source: SourceRef
    span: Span
    per_try_ms: int = 0


class HttpRoute(msgspec.Struct, frozen=True):
    """An HTTPRoute, or a GRPCRoute in the same words. No ``hostnames`` means the listener's."""

    meta: Meta
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    rules: tuple[RouteRule, ...]


def read_http_route(document: Document, positions: Positions) -> HttpRoute:
    """An HTTPRoute document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    if spec is None:
        return HttpRoute(meta, (), (), ())
    parents = read_parents(spec, meta.namespace)
    hostnames = tuple(dict.fromkeys(host.lower() for host in spec.texts("hostnames")))
    # Without rules the route has one rule that matches every path and leads nowhere (the default of Gateway API's own schema).
    rules = spec.each("rules") or ([] if spec.has("rules") else [spec.empty("rules[0]")])
    return HttpRoute(meta, parents, hostnames, tuple(read_rule(rule, meta.namespace, _http_path) for rule in rules))


def read_rule(rule: Cursor, namespace: str, path_of: Callable[[Cursor], PathMatch]) -> RouteRule:
    """One rule of an HTTPRoute or a GRPCRoute, which differ in how a match says its path."""
    timeouts = rule.at("timeouts")
    per_try = (timeouts.duration_ms("backendRequest") if timeouts else None) or 0
    matches = tuple((_match(match, path_of(match)), match.source()) for match in rule.each("matches"))
    return RouteRule(
        name=rule.text("name"),
        matches=matches or ((RouteMatch(path=PathSegments("/")), rule.source()),),
        filters=_filters(rule, namespace),
        backends=tuple(read_backend(backend, namespace) for backend in rule.each("backendRefs")),
        timeout_ms=(timeouts.duration_ms("request") if timeouts else None) or 0,
        retry=_retry(rule.at("retry"), per_try),
        per_try_ms=per_try,
        source=rule.source(),
        span=rule.span,
    )


def _retry(retry: Cursor | None, per_try_ms: int) -> Retry | None:
    if retry is None:
        return None
    codes = tuple(int(code) for code in retry.texts("codes"))
    backoff = retry.duration_ms("backoff") or DEFAULT_RETRY.base_backoff_ms
    # Written retries also cover resets and a backend's time-out (HTTPRouteRetry: connection errors of every kind).
    return Retry(
        attempts=retry.number("attempts", 1),
        on=(*DEFAULT_RETRY.on, "reset"),
        statuses=codes or DEFAULT_RETRY.statuses,
        per_try_timeout_ms=per_try_ms,
        base_backoff_ms=backoff,
        max_backoff_ms=10 * backoff,
    )


def _match(match: Cursor, path: PathMatch) -> RouteMatch:
    # A GRPCRoute has a mapping there, which its path has taken in.
    method = match.text("method") if match.at("method") is None else ""
    headers = {header.text("name").lower(): header for header in reversed(match.each("headers"))}
    parameters = {parameter.text("name"): parameter for parameter in reversed(match.each("queryParams"))}
    return RouteMatch(
        path=path,
        method=Exact(method) if method else None,
        headers=tuple(HeaderMatch(name, _value(header)) for name, header in reversed(headers.items())),
        query=tuple(QueryMatch(name, _value(parameter)) for name, parameter in reversed(parameters.items())),
    )


def _http_path(match: Cursor) -> PathMatch:
    path = match.at("path")
    if path is None:
        return PathSegments("/")
    value = path.text("value", "/")
    match path.text("type", "PathPrefix"):
        case "Exact":
            return PathExact(value)
        case "RegularExpression":
            return PathRegex(value)
        case _:
            return PathSegments(value.rstrip("/") or "/")


def _value(match: Cursor) -> StringMatch:
    value = match.text("value")
    return Regex(value) if match.text("type", "Exact") == "RegularExpression" else Exact(value)


def read_backend(backend: Cursor, namespace: str) -> BackendRef:
    """One entry of ``backendRefs`` of a route of any kind."""
    return BackendRef(
        target=object_ref(backend, namespace, kind="Service"),
        port=backend.number("port"),
        weight=backend.number("weight", 1),
        filters=_filters(backend, namespace),
        source=backend.source(),
    )


def _filters(owner: Cursor, namespace: str) -> Filters:
    read = Filters()
    mirrors: list[MirrorRef] = []
    unknown: list[Located] = []
    for item in owner.each("filters"):
        kind = item.text("type")
        match kind:
            case "RequestHeaderModifier":
                edits, authority = _modifier(item.at("requestHeaderModifier"))
                read = msgspec.structs.replace(read, request_headers=edits, authority=authority)
            case "ResponseHeaderModifier":
                edits, _ = _modifier(item.at("responseHeaderModifier"))
                read = msgspec.structs.replace(read, response_headers=edits)
            case "RequestRedirect":
                read = msgspec.structs.replace(read, redirect=_redirect(item.at("requestRedirect")))
            case "URLRewrite":
                read = msgspec.structs.replace(read, rewrite=_rewrite(item.at("urlRewrite")))
            case "CORS":
                read = msgspec.structs.replace(read, cors=_cors(item.at("cors")))
            case "RequestMirror":
                mirrors += _mirror(item.at("requestMirror"), namespace)
            case _:
                unknown.append(item.located("type") or Located(kind, item.span))
    return msgspec.structs.replace(read, mirrors=tuple(mirrors), unknown=tuple(unknown))


def _cors(cors: Cursor | None) -> Cors | None:
    """A CORS filter. Other origins' preflights are answered without a mark, not forwarded (HTTPCORSFilter)."""
    if cors is None:
        return None
    return Cors(
        origins=tuple(_origin(origin) for origin in cors.texts("allowOrigins")),
        methods=",".join(cors.texts("allowMethods")),
        headers=",".join(cors.texts("allowHeaders")),
        expose_headers=",".join(cors.texts("exposeHeaders")),
        max_age_s=cors.number("maxAge", 5),
        credentials=cors.flag("allowCredentials"),
        forward_unmatched=False,
    )


def _origin(origin: str) -> StringMatch:
    if origin == "*":
        return Present()
    return Regex(re.escape(origin).replace(r"\*", ".+")) if "*" in origin else Exact(origin)


def _mirror(mirror: Cursor | None, namespace: str) -> list[MirrorRef]:
    """A RequestMirror with its share: ``percent``, ``fraction`` (of 100 where no denominator is written), or all."""
    backend = mirror.at("backendRef") if mirror else None
    if mirror is None or backend is None:
        return []
    fraction = mirror.at("fraction")
    share = PER_MILLION
    if mirror.has("percent"):
        share = mirror.number("percent") * PER_MILLION // 100
    elif fraction is not None:
        share = fraction.number("numerator") * PER_MILLION // max(fraction.number("denominator", 100), 1)
    return [MirrorRef(object_ref(backend, namespace, kind="Service"), backend.number("port"), share)]


def _modifier(modifier: Cursor | None) -> tuple[HeaderEdits, str | None]:
    if modifier is None:
        return HeaderEdits(), None
    pairs = {
        key: tuple((item.text("name").lower(), item.text("value")) for item in modifier.each(key))
        for key in ("set", "add")
    }
    authority = next((value for name, value in (*pairs["set"], *pairs["add"]) if name == "host"), None)
    return HeaderEdits(
        remove=tuple(name.lower() for name in modifier.texts("remove")),
        set=tuple(pair for pair in pairs["set"] if pair[0] != "host"),
        add=tuple(pair for pair in pairs["add"] if pair[0] != "host"),
    ), authority


def _redirect(redirect: Cursor | None) -> Redirect:
    if redirect is None:
        return Redirect(status=302)
    whole, prefix = _path_change(redirect.at("path"))
    return Redirect(
        status=redirect.number("statusCode", 302),
        scheme=redirect.text("scheme") or None,
        host=redirect.text("hostname") or None,
        port=redirect.number("port") or None,
        path=whole,
        prefix=prefix,
        port_from_scheme=redirect.has("scheme") and not redirect.has("port"),
    )


def _rewrite(rewrite: Cursor | None) -> Rewrite:
    if rewrite is None:
        return Rewrite()
    whole, prefix = _path_change(rewrite.at("path"))
    return Rewrite(prefix=prefix, path=whole, authority=rewrite.text("hostname") or None)


def _path_change(path: Cursor | None) -> tuple[str | None, str | None]:
    if path is None:
        return None, None
    if path.text("type") == "ReplaceFullPath":
        return path.text("replaceFullPath") or "/", None
    return None, path.text("replacePrefixMatch") or "/"
