"""Slices of gateways that Gateway API configures: one per Gateway, a listener per port, isolation by the most specific hostname."""

from __future__ import annotations

from compiler.api_listeners import PlacedListener, validation_of
from compiler.attachment import attachments, connections, standing_listeners
from compiler.hosts import covers, specificity
from compiler.link.authorization import POLICIES, policy_set
from compiler.link.datagrams import datagram_listener
from compiler.link.draft import LinkedSlice, ProxyShape, SliceDraft, used_clusters, virtual_host_sections
from compiler.link.http_routes import api_destination, sorted_routes
from compiler.link.istio_gateways import without_rivals
from compiler.link.limits import limits_on, with_limits
from compiler.link.proxies import described_proxy
from compiler.link.server_tls import mesh_tls, server_tls
from compiler.link.tokens import guarded
from compiler.link.view import View
from compiler.mesh import Mesh
from compiler.resources.gateway_api import ApiGateway, ApiListener
from compiler.resources.http_route import HttpRoute
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.protocol import UDP
from policies.match import RouteMatch
from policies.traffic import DirectResponse
from snapshot.section import (
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    Route,
    RouteTable,
    Section,
    ServerTls,
    TcpChain,
    VirtualHost,
)

NAME_LABEL = "gateway.networking.k8s.io/gateway-name"


def api_gateway(mesh: Mesh, gateway: ApiGateway, view: View) -> LinkedSlice:
    """The slice of one Gateway. Its proxy bears the service account that Istio gives it: ``<gateway>-<class>``."""
    namespace, name = gateway.meta.namespace, gateway.meta.name
    labels = ((NAME_LABEL, name),)
    policies = policy_set(mesh, namespace, labels, gateway=name)
    sections: list[Section] = []
    standing, _ = standing_listeners(mesh, gateway)
    datagrams = [place for place in standing if place.listener.protocol == UDP]
    sections += [datagram_listener(view, place, POLICIES if policies else "") for place in datagrams]
    bytewise = [place for place in standing if place.listener.protocol != UDP]
    for number in sorted({place.listener.port for place in bytewise}):
        together = [place for place in bytewise if place.listener.port == number]
        sections += _port(view, number, together, POLICIES if policies else "")
    draft = SliceDraft()
    if policies is not None:
        draft.add((policies,))
    draft.add(guarded(sections, mesh, namespace, labels, gateway=name))
    draft.add(used_clusters(sections, view.clusters))
    account = f"{name}-{gateway.class_name}"
    proxy = described_proxy(
        mesh,
        name=account,
        namespace=namespace,
        account=account,
        labels=labels,
        settings=mesh.config.proxies,
        gateway=True,
    )
    return draft.finish(ProxyShape(f"gateway/{namespace}/{name}", _kind(name), namespace, labels), proxy)


def _kind(name: str) -> str:
    return "egress" if "egress" in name else "ingress"


def _port(view: View, number: int, places: list[PlacedListener], policies: str) -> list[Section]:
    web = [place for place in places if place.listener.protocol in ("HTTP", "HTTPS")]
    rivals = [place.listener for place in places]
    sections: list[Section] = []
    for name in dict.fromkeys(_table_name(place) for place in web):
        sections.append(RouteTable(name, places[0].gateway.meta.source))
    for place in web:
        sections += _virtual_hosts(view, place, rivals)
        if place.listener.protocol != "HTTP":
            sections += _misdirected(place.listener, [other.listener for other in web], _table_name(place))
    chains = _chains(view.mesh.config, web, policies) if web else []
    for place in places:
        if place not in web:
            chains += _connections(view, place, rivals, policies)
    protocol = "http" if web else "tcp"
    kept = tuple(without_rivals(chains))
    source, bind, proxied = rivals[0].source, GatewayPort(number), bool(view.mesh.config.proxies.proxied)
    sections.append(Listener(f"gateway:{number}", source, "gateway", bind, protocol, kept, proxied))
    return sections


def _name(place: PlacedListener) -> str:
    """A listener's name among all of its Gateway's: those of ListenerSets may repeat the Gateway's own."""
    if isinstance(place.owner, ApiGateway):
        return place.listener.name
    return f"{place.owner.meta.namespace}/{place.owner.meta.name}/{place.listener.name}"


def _table_name(place: PlacedListener) -> str:
    listener = place.listener
    return f"http.{listener.port}" if listener.protocol == "HTTP" else f"https.{listener.port}.{_name(place)}"


def _chains(config: MeshConfig, places: list[PlacedListener], policies: str) -> list[FilterChain]:
    first, table = places[0].listener, _table_name(places[0])
    if first.protocol == "HTTP":
        plain, mesh = HttpChain(table, policies, edge=True), HttpChain(table, policies)
        return [
            FilterChain("http", first.source, plain),
            FilterChain("mtls-http", first.source, mesh, tls=mesh_tls(config)),
        ]
    return [
        FilterChain(
            name=_name(place),
            source=place.listener.source,
            network=HttpChain(_table_name(place), policies, edge=True),
            server_names=(place.listener.hostname,) if place.listener.hostname else (),
            tls=_server_tls(config, place),
        )
        for place in places
    ]


def _server_tls(config: MeshConfig, place: PlacedListener) -> ServerTls:
    """TLS that ends at a listener. Clients are proved where the Gateway's ``tls.frontend`` asks for it; AllowInsecureFallback asks nobody."""
    credentials = tuple(f"{ref.namespace}/{ref.name}" for ref in place.listener.certificates)
    validation = validation_of(place.gateway, place.listener)
    if validation is None or validation.mode != "AllowValidOnly":
        return server_tls(config, credentials)
    authority = next(iter(validation.authorities), None)
    return server_tls(config, credentials, "require", f"{authority.namespace}/{authority.name}" if authority else "")


def _connections(view: View, place: PlacedListener, rivals: list[ApiListener], policies: str) -> list[FilterChain]:
    """The chains of a TLS or TCP listener: one per route, then one that closes what no route takes.

    That last one keeps a server name from falling to a listener with a less specific hostname (Gateway API's listener isolation).
    """
    listener = place.listener
    tls = (
        _server_tls(view.mesh.config, place)
        if listener.protocol == "TLS" and listener.tls_mode == "Terminate"
        else None
    )
    passthrough = listener.protocol == "TLS" and tls is None
    own = listener.hostname or "*"
    closed = FilterChain(
        name=_name(place),
        source=listener.source,
        network=TcpChain((), listener.source, policies),
        server_names=(own,) if listener.protocol == "TLS" and own != "*" else (),
        tls=tls,
        passthrough=passthrough,
    )
    chains: list[FilterChain] = []
    for route, hosts in connections(view.mesh, place):
        hosts = hosts if route.meta.id.kind == "TLSRoute" else (own,)
        names = [
            host for host in hosts if not any(_claims(rival, host, own) for rival in rivals if rival is not listener)
        ]
        rule = next(iter(route.rules), None)
        if rule is None or not names:
            continue
        network = TcpChain(tuple(api_destination(view, route, item) for item in rule.backends), rule.source, policies)
        name = f"{_name(place)}/{route.meta.namespace}/{route.meta.name}"
        shown = () if listener.protocol == "TCP" or "*" in names else tuple(names)
        chains.append(FilterChain(name, rule.source, network, shown, tls, passthrough))
    return [*chains, closed]


def _virtual_hosts(view: View, place: PlacedListener, rivals: list[ApiListener]) -> list[Section]:
    """One virtual host per host that routes have on this listener, and one without routes (404) for the listener's own hostname.

    A host that a rival with a more specific hostname claims is that listener's alone (Gateway API's listener isolation).
    """
    listener, table = place.listener, _table_name(place)
    limits = limits_on(view.mesh, place.owner.meta, listener.name)
    by_host: dict[str, list[HttpRoute]] = {listener.hostname or "*": []}
    for item in attachments(view.mesh, place):
        for host in item.hosts:
            by_host.setdefault(host, []).append(item.route)
    own = listener.hostname or "*"
    sections: list[Section] = []
    for host in sorted(by_host, key=specificity):
        if any(_claims(rival, host, own) for rival in rivals if rival is not listener):
            continue
        source = by_host[host][0].meta.source if by_host[host] else listener.source
        section = VirtualHost(table, f"{host}:{listener.port}", (host,), source)
        routes = with_limits(sorted_routes(view, by_host[host], listener), limits)
        sections += virtual_host_sections(section, routes)
    return sections


def _misdirected(listener: ApiListener, listeners: list[ApiListener], table: str) -> list[Section]:
    """Virtual hosts for what other listeners of a TLS port serve: a connection that was made for this one gets 421 (RFC 9110 15.5.20)."""
    sections: list[Section] = []
    for other in listeners:
        host = other.hostname or "*"
        if host != (listener.hostname or "*"):
            section = VirtualHost(table, f"{host}:{listener.port}:misdirected", (host,), other.source)
            route = Route(other.source, RouteMatch(), DirectResponse(421), name="misdirected")
            sections += virtual_host_sections(section, [route])
    return sections


def _claims(rival: ApiListener, host: str, own: str) -> bool:
    hostname = rival.hostname or "*"
    return covers(hostname, host) and specificity(hostname) < specificity(own) and hostname != own
