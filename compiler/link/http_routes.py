"""HTTPRoutes as routes of a virtual host, sorted by Gateway API's precedence, and those that attach to services of the mesh."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from compiler.api_references import backend_problem
from compiler.hosts import full_host
from compiler.link.limits import Limited, limits_on
from compiler.link.view import View
from compiler.resources.api_route import Attachable
from compiler.resources.gateway_api import ApiListener, ObjectRef
from compiler.resources.http_route import BackendRef, Filters, HttpRoute, RouteRule
from policies.match import PathExact, PathPrefix, PathRegex, PathSegments, RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Mirror, Redirect, Retry, Rewrite, RouteAction
from snapshot.section import Cluster, Route

_DEFAULT_PORTS = {"HTTP": 80, "HTTPS": 443}


def sorted_routes(view: View, attached: Iterable[HttpRoute], listener: ApiListener | None) -> list[Route]:
    """All rules of these HTTPRoutes as routes, the most specific match first. ``listener`` is None in the mesh."""
    ranked = []
    for route in attached:
        for index, written in enumerate(map(lifted, route.rules)):
            rule = msgspec.structs.replace(written, retry=_retry(view.mesh.config.retry, written))
            action = _action(view, route, rule, listener)
            limits = limits_on(view.mesh, route.meta, rule.name)
            for position, (match, source) in enumerate(rule.matches):
                rank = (*specificity(match), route.meta.order, index, position)
                ranked.append((rank, _route(route, rule, index, action, match, source, limits)))
    ranked.sort(key=lambda item: item[0])
    return [route for _, route in ranked]


def specificity(match: RouteMatch) -> tuple[int, int, bool, int, int]:
    """Gateway API's order: exact path, longest prefix, (regex), method, most headers, most query parameters."""
    match match.path:
        case PathExact(value):
            kind, length = 0, len(value)
        case PathSegments(value) | PathPrefix(value):
            kind, length = 1, len(value)
        case PathRegex(pattern):
            kind, length = 2, len(pattern)
        case None:
            kind, length = 3, 0
    return kind, -length, match.method is None, -len(match.headers), -len(match.query)


def _route(
    route: HttpRoute,
    rule: RouteRule,
    index: int,
    action: RouteAction,
    match: RouteMatch,
    source: SourceRef,
    limits: Limited,
) -> Route:
    return Route(
        source=source,
        match=match,
        action=action,
        name=rule.name or f"{route.meta.namespace}.{route.meta.name}.{index}",
        request_headers=rule.filters.request_headers,
        response_headers=rule.filters.response_headers,
        timeout_ms=rule.timeout_ms,
        retry=rule.retry if isinstance(action, Forward) else None,
        cors=rule.filters.cors,
        limits=limits,
    )


def _retry(usual: Retry, rule: RouteRule) -> Retry:
    """The rule's own retries, or the mesh's, under the time-out that the rule has for one try."""
    if rule.retry is not None:
        return rule.retry
    return msgspec.structs.replace(usual, per_try_timeout_ms=rule.per_try_ms) if rule.per_try_ms else usual


def _action(view: View, route: HttpRoute, rule: RouteRule, listener: ApiListener | None) -> RouteAction:
    if _refuses(rule.filters):
        return DirectResponse(status=500)
    if rule.filters.redirect is not None:
        return _redirect(rule.filters.redirect, listener)
    if not rule.backends:
        return DirectResponse(status=500)
    destinations = tuple(api_destination(view, route, backend, listener) for backend in rule.backends)
    return Forward(destinations, rewrite_of(rule.filters), tuple(_mirrors(view, route, rule)))


def _mirrors(view: View, route: HttpRoute, rule: RouteRule) -> Iterable[Mirror]:
    """Where requests are mirrored; a backend that must not be followed gets none."""
    for mirror in rule.filters.mirrors:
        cluster = _cluster(view, route, mirror.target, mirror.port)
        if cluster is not None and mirror.per_million:
            yield Mirror(cluster.name, mirror.per_million)


def _refuses(filters: Filters) -> bool:
    """Whether a filter stands there that is not known: without it a request may not be answered."""
    return bool(filters.unknown)


def _redirect(redirect: Redirect, listener: ApiListener | None) -> Redirect:
    """A redirect without scheme and port goes to the listener's port; a port that is the protocol's own is left out, also the request's."""
    if listener is None:
        return redirect
    protocol = redirect.scheme.upper() if redirect.scheme else listener.protocol
    port = redirect.port
    if port is None and redirect.scheme is None:
        port = listener.port
    return msgspec.structs.replace(redirect, port=0 if port == _DEFAULT_PORTS.get(protocol) else port)


def rewrite_of(filters: Filters) -> Rewrite | None:
    """What filters make of path and authority; a rewritten hostname wins over a header that is set."""
    rewrite = filters.rewrite or Rewrite()
    if filters.authority is not None and rewrite.authority is None:
        rewrite = msgspec.structs.replace(rewrite, authority=filters.authority)
    return rewrite if rewrite != Rewrite() else None


def lifted(rule: RouteRule) -> RouteRule:
    """A rule with what the filters of its only backend ask for, in so far as the rule does not."""
    if len(rule.backends) != 1:
        return rule
    (backend,), own = rule.backends, rule.filters
    theirs = backend.filters
    filters = msgspec.structs.replace(
        own,
        authority=own.authority or theirs.authority,
        redirect=own.redirect or theirs.redirect,
        rewrite=own.rewrite or theirs.rewrite,
        mirrors=own.mirrors + theirs.mirrors,
        cors=own.cors or theirs.cors,
    )
    left = msgspec.structs.replace(theirs, authority=None, redirect=None, rewrite=None, mirrors=(), cors=None)
    return msgspec.structs.replace(rule, filters=filters, backends=(msgspec.structs.replace(backend, filters=left),))


def api_destination(
    view: View, route: Attachable, backend: BackendRef, listener: ApiListener | None = None
) -> Destination:
    """A backend of a route of any kind; one that must not be followed keeps its share, which fails."""
    filters = backend.filters
    # Copies and cross-origin answers of one backend among several are not carried (WFT0200 says so): better no answer than one without them.
    refused = _refuses(filters) or bool(filters.mirrors) or filters.cors is not None
    redirect = _redirect(filters.redirect, listener) if filters.redirect and not refused else None
    cluster = None if refused or redirect else _cluster(view, route, backend.target, backend.port)
    return Destination(
        cluster=cluster.name if cluster else "",
        weight=backend.weight,
        request_headers=backend.filters.request_headers,
        response_headers=backend.filters.response_headers,
        status=500,
        rewrite=rewrite_of(filters),
        redirect=redirect,
    )


def _cluster(view: View, route: Attachable, target: ObjectRef, number: int) -> Cluster | None:
    """The cluster of a backend, None where it must not be followed."""
    service = view.services.get(full_host(target.name, target.namespace))
    datagrams = route.meta.id.kind == "UDPRoute"
    port = (service.datagram_port(number) if datagrams else service.port(number)) if service else None
    refused = backend_problem(view.mesh, route, target, number)
    return view.cluster(service, port) if service and port and not refused else None


def mesh_routes(view: View) -> dict[tuple[str, int], list[Route]]:
    """Routes for services of the mesh, by host and port: the clients' own HTTPRoutes, else those of the service's namespace (GAMMA)."""
    own: dict[tuple[str, int], list[HttpRoute]] = {}
    producers: dict[tuple[str, int], list[HttpRoute]] = {}
    for route in view.mesh.http_routes:
        for key, consumer in _service_parents(view, route):
            found = (own if consumer else producers).setdefault(key, [])
            if route not in found:
                found.append(route)
    return {key: sorted_routes(view, routes, None) for key, routes in {**producers, **own}.items()}


def _service_parents(view: View, route: HttpRoute) -> Iterable[tuple[tuple[str, int], bool]]:
    for parent in route.parents:
        target = parent.target
        if (target.group, target.kind) != ("", "Service"):
            continue
        host = full_host(target.name, target.namespace)
        service = view.known_services.get(host)
        producer = route.meta.namespace == target.namespace
        if service is None or service.host != host or not (producer or route.meta.namespace == view.namespace):
            continue
        if view.reach is not None and not view.reach.admits(route.meta.namespace, service.host):
            continue
        for port in service.ports:
            if parent.port in (0, port.number):
                yield (service.host, port.number), not producer
