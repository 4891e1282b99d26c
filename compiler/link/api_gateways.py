"""Slices of gateways that Gateway API configures: one per Gateway, a listener per port, isolation by the most specific hostname."""

from __future__ import annotations

from compiler.attachment import Attached, attachments, standing_listeners
from compiler.hosts import covers, specificity
from compiler.link.authorization import POLICIES, policy_set
from compiler.link.draft import LinkedSlice, ProxyShape, SliceDraft, used_clusters, virtual_host_sections
from compiler.link.http_routes import sorted_routes
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
    tables = {listener.name: _table_name(listener) for listener in listeners}
    sections: list[Section] = []
    for name in dict.fromkeys(tables.values()):
        sections.append(RouteTable(name, gateway.meta.source))
    for listener in listeners:
        attached = attachments(mesh, gateway, listener)
        sections += _virtual_hosts(view, listener, listeners, attached, tables[listener.name])
        if listener.protocol != "HTTP":
            sections += _misdirected(listener, listeners, tables[listener.name])
    chains = _chains(listeners, tables, policies)
    bind = GatewayPort(number)
    sections.append(Listener(f"gateway:{number}", listeners[0].source, "gateway", bind, "http", chains))
    return sections


def _table_name(listener: ApiListener) -> str:
    return f"http.{listener.port}" if listener.protocol == "HTTP" else f"https.{listener.port}.{listener.name}"


def _chains(listeners: list[ApiListener], tables: dict[str, str], policies: str) -> tuple[FilterChain, ...]:
    first = listeners[0]
    if first.protocol == "HTTP":
        plain = HttpChain(tables[first.name], policies, edge=True)
        mesh = HttpChain(tables[first.name], policies)
        return (FilterChain("http", first.source, plain), FilterChain("mtls-http", first.source, mesh, tls=MeshTls()))
    return tuple(
        FilterChain(
            name=listener.name,
            source=listener.source,
            network=HttpChain(tables[listener.name], policies, edge=True),
            server_names=(listener.hostname,) if listener.hostname else (),
            tls=ServerTls(tuple(f"{ref.namespace}/{ref.name}" for ref in listener.certificates)),
        )
        for listener in listeners
    )


def _virtual_hosts(
    view: View, listener: ApiListener, rivals: list[ApiListener], attached: list[Attached], table: str
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
        sections += virtual_host_sections(section, sorted_routes(view, by_host[host], listener))
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
