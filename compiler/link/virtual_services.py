"""VirtualService rules as routes of one virtual host, for the proxies that a scope describes."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from compiler.hosts import covers
from compiler.link.limits import limits_on, with_limits
from compiler.link.view import View, full_hosts
from compiler.resources.cursor import Labels
from compiler.resources.http_action import Rewriting
from compiler.resources.virtual_service import (
    MESH,
    ConnectionMatch,
    ConnectionRule,
    HttpMatch,
    HttpRule,
    Scope,
    VirtualService,
    WeightedTarget,
)
from policies.match import PathPrefix, PathRegex, RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Mirror, Rewrite, RouteAction
from snapshot.section import Cluster, Route


class Standpoint(msgspec.Struct, frozen=True):
    """For whom rules are linked: the gateway (``mesh`` or ``namespace/name``), the listener's port, the proxy's labels and namespace.

    ``addresses`` are those of the service that connections are for; None at gateways, where Istio does not ask for them.
    """

    gateway: str
    port: int
    namespace: str
    labels: Labels = ()
    addresses: tuple[str, ...] | None = None

    def leads_into(self, networks: tuple[str, ...]) -> bool:
        """Whether connections go to one of some networks (``destinationSubnets``); to any where none is named."""
        if not networks or self.addresses is None:
            return True
        wide = [ip_network(one, strict=False) for one in networks]
        return any(_is_part(ip_network(one, strict=False), network) for one in self.addresses for network in wide)

    def admits(self, scope: Scope, owner: str) -> bool:
        """Whether a match in a VirtualService of namespace ``owner`` holds here, as far as that is known before any request."""
        if scope.port and scope.port != self.port:
            return False
        if scope.source_namespace and scope.source_namespace != self.namespace:
            return False
        if not set(scope.source_labels) <= set(self.labels):
            return False
        return not scope.gateways or self.gateway in {qualified(item.value, owner) for item in scope.gateways}


def _is_part(narrow: IPv4Network | IPv6Network, wide: IPv4Network | IPv6Network) -> bool:
    if isinstance(narrow, IPv4Network):
        return isinstance(wide, IPv4Network) and narrow.subnet_of(wide)
    return isinstance(wide, IPv6Network) and narrow.subnet_of(wide)


def qualified(gateway: str, namespace: str) -> str:
    """A gateway's full name, as ``namespace/name``; the mesh stays the mesh."""
    return gateway if gateway == MESH or "/" in gateway else f"{namespace}/{gateway}"


def binds(service: VirtualService, gateway: str) -> bool:
    """Whether a VirtualService is for a gateway (or the mesh, which is also what no gateway means)."""
    if not service.gateways:
        return gateway == MESH
    return gateway in {qualified(item.value, service.meta.namespace) for item in service.gateways}


def http_routes(view: View, service: VirtualService, at: Standpoint) -> list[Route]:
    """The routes of a VirtualService's ``http`` in the order written: one per match, so that each can be named and explained."""
    routes = []
    for rule in service.http:
        namespace = rule.namespace or service.meta.namespace
        made = []
        if not rule.matches:
            made.append(_route(view, rule, None, namespace, at))
        for match in rule.matches:
            if at.admits(match.scope, namespace):
                made.append(_route(view, rule, match, namespace, at))
        routes += with_limits(made, limits_on(view.mesh, service.meta, rule.name))
    return routes


def _route(view: View, rule: HttpRule, match: HttpMatch | None, namespace: str, at: Standpoint) -> Route:
    asked = match.match if match else RouteMatch()
    rewrite = _rewrite(rule, asked)
    if rewrite is not None and rewrite.prefix is not None and asked.path is None:
        asked = msgspec.structs.replace(asked, path=PathPrefix("/"))
    forwards = rule.redirect is None and rule.direct is None
    return Route(
        source=match.source if match else rule.source,
        match=asked,
        action=_action(view, rule, rewrite, namespace, at),
        name=".".join(part for part in (rule.name, match.name if match else "") if part),
        request_headers=rule.request_headers,
        response_headers=rule.response_headers,
        fault=rule.fault,
        timeout_ms=rule.timeout_ms or 0,
        retry=(rule.retry or view.mesh.config.retry) if forwards else None,
        cors=rule.cors,
    )


def _action(view: View, rule: HttpRule, rewrite: Rewrite | None, namespace: str, at: Standpoint) -> RouteAction:
    if rule.redirect is not None:
        return msgspec.structs.replace(rule.redirect, port=at.port) if rule.redirect_to_request_port else rule.redirect
    if rule.direct is not None:
        return rule.direct
    if not rule.targets:
        return DirectResponse(status=503, flag="NR")
    return Forward(link_targets(view, rule.targets, namespace, at.port), rewrite, _mirrors(view, rule, namespace, at))


def _mirrors(view: View, rule: HttpRule, namespace: str, at: Standpoint) -> tuple[Mirror, ...]:
    """Where requests are mirrored; what does not exist gets none."""
    resolved = ((view.resolve(item.target, namespace, at.port), item.per_million) for item in rule.mirrors)
    return tuple(Mirror(cluster.name, share) for cluster, share in resolved if cluster is not None and share)


def link_targets(view: View, targets: tuple[WeightedTarget, ...], namespace: str, port: int) -> tuple[Destination, ...]:
    """Weighted destinations; what does not exist keeps its share and is answered 503."""
    alike = len({target.authority for target in targets}) < 2
    return tuple(_destination(target, view.resolve(target.target, namespace, port), alike=alike) for target in targets)


def _destination(target: WeightedTarget, cluster: Cluster | None, *, alike: bool) -> Destination:
    """One destination. An authority that all destinations set is the route's (``shared_authority``)."""
    return Destination(
        cluster=cluster.name if cluster else "",
        weight=target.weight,
        request_headers=target.request_headers,
        response_headers=target.response_headers,
        status=503,
        rewrite=None if alike or target.authority is None else Rewrite(authority=target.authority),
    )


def _rewrite(rule: HttpRule, asked: RouteMatch) -> Rewrite | None:
    """What the rule's rewrite means behind this match: a prefix replaces a prefix, elsewhere the whole path is replaced (Istio)."""
    written = rule.rewriting or Rewriting(None, None, None, "")
    # A header operation that sets the authority is an authority rewrite; the route's wins over a destination's.
    authority = written.authority or rule.authority or shared_authority(rule)
    prefix = path = None
    if written.uri is not None:
        if asked.path is None or isinstance(asked.path, PathPrefix):
            prefix = written.uri
        else:
            path = written.uri
    rewrite = Rewrite(prefix, path, written.regex, written.substitution, authority)
    return rewrite if rewrite != Rewrite() else None


def shared_authority(rule: HttpRule) -> str | None:
    """The authority that all destinations of a rule set, or None where they differ."""
    authorities = {target.authority for target in rule.targets}
    return authorities.pop() if len(authorities) == 1 else None


def is_catch_all(route: Route) -> bool:
    """Whether a route takes every request: on gateways such routes go behind all others (Istio)."""
    match = route.match
    everywhere = (
        match.path is None
        or (isinstance(match.path, PathPrefix) and match.path.value == "/")
        or (isinstance(match.path, PathRegex) and match.path.pattern == ".*")
    )
    return everywhere and match == RouteMatch(path=match.path)


def connection_rule(
    service: VirtualService, rules: tuple[ConnectionRule, ...], at: Standpoint, server_name: str = ""
) -> ConnectionRule | None:
    """The first ``tcp`` rule (or ``tls`` rule of this server name) that a connection takes."""
    for rule in rules:
        matches = rule.matches or (ConnectionMatch((), Scope()),)
        for match in matches:
            fits = not server_name or any(covers(host.lower(), server_name) for host in match.server_names)
            if fits and at.leads_into(match.networks) and at.admits(match.scope, service.meta.namespace):
                return rule
    return None


def hosts_of(service: VirtualService) -> list[tuple[str, SourceRef]]:
    """A VirtualService's hosts, completed."""
    return [(host, service.meta.source) for host in full_hosts(service)]
