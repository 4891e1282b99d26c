"""Slices of gateways that Gateway API configures: one per Gateway, a listener per port, isolation by the most specific hostname."""

from __future__ import annotations

from compiler.attachment import Attached, attachments, connections, standing_listeners
from compiler.hosts import covers, specificity
from compiler.link.authorization import POLICIES, policy_set
from compiler.link.draft import LinkedSlice, ProxyShape, SliceDraft, used_clusters, virtual_host_sections
from compiler.link.http_routes import api_destination, sorted_routes
from compiler.link.istio_gateways import without_rivals
from compiler.link.limits import Limited, limits_on, with_limits
from compiler.link.proxies import described_proxy
from compiler.link.view import View
from compiler.mesh import Mesh
from compiler.resources.gateway_api import ApiGateway, ApiListener
from compiler.resources.http_route import HttpRoute
from policies.match import RouteMatch
from policies.traffic import DirectResponse
from snapshot.section import (
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
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
    for number in sorted({listener.port for listener in standing}):
        together = [listener for listener in standing if listener.port == number]
        sections += _port(mesh, gateway, view, number, together, POLICIES if policies else "")
    draft = SliceDraft()
    if policies is not None:
        draft.add((policies,))
    draft.add(sections)
    draft.add(used_clusters(sections, view.clusters))
    account = f"{name}-{gateway.class_name}"
    proxy = described_proxy(mesh, name=account, namespace=namespace, account=account, labels=labels)
    return draft.finish(ProxyShape(f"gateway/{namespace}/{name}", _kind(name), namespace, labels), proxy)


def _kind(name: str) -> str:
    return "egress" if "egress" in name else "ingress"


def _port(
    mesh: Mesh, gateway: ApiGateway, view: View, number: int, listeners: list[ApiListener], policies: str
) -> list[Section]:
    web = [listener for listener in listeners if listener.protocol in ("HTTP", "HTTPS")]
    tables = {listener.name: _table_name(listener) for listener in web}
    sections: list[Section] = []
    for name in dict.fromkeys(tables.values()):
        sections.append(RouteTable(name, gateway.meta.source))
    for listener in web:
        attached = attachments(mesh, gateway, listener)
        limits = limits_on(mesh, gateway.meta, listener.name)
        sections += _virtual_hosts(view, listener, listeners, attached, tables[listener.name], limits)
        if listener.protocol != "HTTP":
            sections += _misdirected(listener, web, tables[listener.name])
    chains = _chains(web, tables, policies) if web else []
    for listener in listeners:
        if listener not in web:
            chains += _connections(mesh, gateway, view, listener, listeners, policies)
    protocol = "http" if web else "tcp"
    bind = GatewayPort(number)
    kept = tuple(without_rivals(chains))
    sections.append(Listener(f"gateway:{number}", listeners[0].source, "gateway", bind, protocol, kept))
    return sections


def _table_name(listener: ApiListener) -> str:
    return f"http.{listener.port}" if listener.protocol == "HTTP" else f"https.{listener.port}.{listener.name}"


def _chains(listeners: list[ApiListener], tables: dict[str, str], policies: str) -> list[FilterChain]:
    first = listeners[0]
    if first.protocol == "HTTP":
        plain = HttpChain(tables[first.name], policies, edge=True)
        mesh = HttpChain(tables[first.name], policies)
        return [FilterChain("http", first.source, plain), FilterChain("mtls-http", first.source, mesh, tls=MeshTls())]
    return [
        FilterChain(
            name=listener.name,
            source=listener.source,
            network=HttpChain(tables[listener.name], policies, edge=True),
            server_names=(listener.hostname,) if listener.hostname else (),
            tls=_server_tls(listener),
        )
        for listener in listeners
    ]


def _server_tls(listener: ApiListener) -> ServerTls:
    return ServerTls(tuple(f"{ref.namespace}/{ref.name}" for ref in listener.certificates))


def _connections(
    mesh: Mesh, gateway: ApiGateway, view: View, listener: ApiListener, rivals: list[ApiListener], policies: str
) -> list[FilterChain]:
    """The chains of a TLS or TCP listener: one per route, then one that closes what no route takes.

    That last one keeps a server name from falling to a listener with a less specific hostname (Gateway API's listener isolation).
    """
    tls = _server_tls(listener) if listener.protocol == "TLS" and listener.tls_mode == "Terminate" else None
    passthrough = listener.protocol == "TLS" and tls is None
    own = listener.hostname or "*"
    closed = FilterChain(
        name=listener.name,
        source=listener.source,
        network=TcpChain((), listener.source, policies),
        server_names=(own,) if listener.protocol == "TLS" and own != "*" else (),
        tls=tls,
        passthrough=passthrough,
    )
    chains: list[FilterChain] = []
    for route, hosts in connections(mesh, gateway, listener):
        hosts = hosts if route.meta.id.kind == "TLSRoute" else (own,)
        names = [
            host for host in hosts if not any(_claims(rival, host, own) for rival in rivals if rival is not listener)
        ]
        rule = next(iter(route.rules), None)
        if rule is None or not names:
            continue
        network = TcpChain(tuple(api_destination(view, route, item) for item in rule.backends), rule.source, policies)
        name = f"{listener.name}/{route.meta.namespace}/{route.meta.name}"
        shown = () if listener.protocol == "TCP" or "*" in names else tuple(names)
        chains.append(FilterChain(name, rule.source, network, shown, tls, passthrough))
    return [*chains, closed]


def _virtual_hosts(
    view: View, listener: ApiListener, rivals: list[ApiListener], attached: list[Attached], table: str, limits: Limited
) -> list[Section]:
    """One virtual host per host that routes have on this listener, and one without routes (404) for the listener's own hostname.

    A host that a rival with a more specific hostname claims is that listener's alone (Gateway API's listener isolation).
    """
    by_host: dict[str, list[HttpRoute]] = {listener.hostname or "*": []}
    for item in attached:
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
