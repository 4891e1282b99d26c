"""What a sidecar sends: a route table per port with a virtual host per service, and a listener per service and port.

The same for all workloads of a namespace, unless a VirtualService asks for source labels; so it is linked once per namespace and
combination of such labels.
"""

from __future__ import annotations

from compiler.hosts import covers, specificity
from compiler.link.clusters import PASSTHROUGH
from compiler.link.draft import SectionKey, keyed, used_clusters, virtual_host_sections
from compiler.link.http_routes import mesh_routes
from compiler.link.view import View
from compiler.link.virtual_services import Standpoint, binds, connection_rule, hosts_of, http_routes, link_targets
from compiler.mesh import MeshService
from compiler.resources.cursor import Labels
from compiler.resources.http_action import DEFAULT_RETRY
from compiler.resources.kubernetes import Port, Service
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.resources.protocol import AUTO, TLS, is_http
from compiler.resources.virtual_service import MESH, VirtualService
from policies.match import RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, Forward
from snapshot.section import (
    Cluster,
    FilterChain,
    HttpChain,
    Listener,
    ProxyPort,
    Route,
    RouteTable,
    Section,
    ServicePort,
    TcpChain,
    VirtualHost,
)

OUTBOUND = "virtualOutbound"
BLACK_HOLE = "BlackHoleCluster"
FALLBACK_PORT = 80
"""The port of VirtualService hosts that no service declares (Istio)."""


class Outbound:
    """The outbound part of the slices of one namespace and one combination of source labels. Owns the sections while they are made."""

    def __init__(self, view: View, labels: Labels) -> None:
        self.view = view
        self.labels = labels
        self._domains: dict[int, set[str]] = {}
        self._sections: list[Section] = []
        self._virtual_services = [item for item in view.virtual_services if binds(item, MESH)]
        self._by_host = _first_by_host(self._virtual_services)
        self._wildcards = sorted((host for host in self._by_host if host.startswith("*")), key=specificity)
        self._attached = mesh_routes(view)

    def link(self) -> dict[SectionKey, Section]:
        """All outbound sections by their keys, in order: tables, virtual hosts, routes, listeners and the clusters that they name."""
        services = list(self.view.known_services.values())
        # An exact name claims its domains before a wildcard can; services of Kubernetes before entries that repeat them.
        services.sort(key=lambda item: (item.host.startswith("*"), not isinstance(item.origin, Service), item.host))
        for service in services:
            for port in service.ports:
                self._service_port(service, port)
        self._hosts_without_service()
        mode, source = self._policy()
        unmatched = PASSTHROUGH.name if mode == "ALLOW_ANY" else BLACK_HOLE
        for number in sorted(self._domains):
            self._sections.append(RouteTable(str(number), source, number, unmatched))
        self._sections.append(RouteTable(OUTBOUND, source, 0, unmatched))
        chain = FilterChain("http", source, HttpChain(OUTBOUND, proxy=True))
        self._sections.append(Listener(OUTBOUND, source, "outbound", ProxyPort(), "http", (chain,)))
        found = keyed([*self._sections, *used_clusters(self._sections, self.view.clusters)])
        return dict(sorted(found.items(), key=lambda item: item[0]))

    def _policy(self) -> tuple[str, SourceRef]:
        """What becomes of requests to hosts that are not known, and what says so."""
        sidecar = self.view.reach.sidecar if self.view.reach else None
        if sidecar is not None and sidecar.outbound_source is not None:
            return sidecar.outbound, sidecar.outbound_source
        return self.view.mesh.config.outbound, self.view.mesh.source

    def _service_port(self, service: MeshService, port: Port) -> None:
        cluster = self.view.cluster(service, port)
        assert cluster is not None
        at = Standpoint(MESH, port.number, self.view.namespace, self.labels)
        rules = self._rules_for(service.host)
        routes = self._routes(service, port, cluster, rules, at)
        self._virtual_host(
            port.number, service.host, service_domains(service, self.view.namespace), port.source, routes
        )
        if not service.host.startswith("*"):
            self._sections.append(self._listener(service, port, cluster, rules, at))

    def _routes(
        self, service: MeshService, port: Port, cluster: Cluster, rules: VirtualService | None, at: Standpoint
    ) -> list[Route]:
        attached = self._attached.get((service.host, port.number))
        if attached is not None:
            return attached
        http = is_http(port.protocol) or port.protocol == AUTO
        if http and rules is not None and rules.http:
            return http_routes(self.view, rules, at)
        if http:
            return [default_route((Destination(cluster.name),), port.source)]
        # The explicit proxy finds other protocols here too: a CONNECT to the port goes where a connection would.
        return [default_route(*self._connections(service.host, port, cluster, rules, at))]

    def _rules_for(self, host: str) -> VirtualService | None:
        """The VirtualService of a host: its own name before the longest wildcard; of the same host the first in order."""
        exact = self._by_host.get(host)
        if exact is not None:
            return exact
        return next((self._by_host[pattern] for pattern in self._wildcards if covers(pattern, host)), None)

    def _virtual_host(self, number: int, host: str, domains: list[str], source: SourceRef, routes: list[Route]) -> None:
        taken = self._domains.setdefault(number, set())
        free = tuple(domain for domain in domains if domain not in taken)
        taken.update(free)
        if free:
            section = VirtualHost(str(number), f"{host}:{number}", free, source)
            self._sections.extend(virtual_host_sections(section, routes))

    def _hosts_without_service(self) -> None:
        """Virtual hosts for names that only VirtualServices know; a VirtualService that reaches some service has none (Istio)."""
        for item in self._virtual_services:
            hosts = [host for host, _ in hosts_of(item) if self._by_host[host] is item]
            if not item.http or any(self._reaches_a_service(host) for host in hosts):
                continue
            at = Standpoint(MESH, FALLBACK_PORT, self.view.namespace, self.labels)
            for host in hosts:
                self._virtual_host(FALLBACK_PORT, host, [host], item.meta.source, http_routes(self.view, item, at))

    def _reaches_a_service(self, host: str) -> bool:
        known = self.view.known_services
        return host in known or (host.startswith("*") and any(covers(host, service) for service in known))

    def _listener(
        self, service: MeshService, port: Port, cluster: Cluster, rules: VirtualService | None, at: Standpoint
    ) -> Listener:
        chains: list[FilterChain] = []
        if is_http(port.protocol) or port.protocol == AUTO:
            chains.append(FilterChain("http", port.source, HttpChain(str(port.number), host=service.host)))
        if not is_http(port.protocol):
            destinations, source = self._connections(service.host, port, cluster, rules, at)
            chains.append(FilterChain("tcp", source, TcpChain(destinations, source)))
        protocol = "http" if is_http(port.protocol) else "auto" if port.protocol == AUTO else "tcp"
        name = f"{service.host}:{port.number}"
        return Listener(name, port.source, "outbound", ServicePort(service.host, port.number), protocol, tuple(chains))

    def _connections(
        self, host: str, port: Port, cluster: Cluster, rules: VirtualService | None, at: Standpoint
    ) -> tuple[tuple[Destination, ...], SourceRef]:
        """Where connections to a port go, and what says so."""
        if rules is not None:
            tls = port.protocol in TLS
            rule = connection_rule(rules, rules.tls if tls else rules.tcp, at, host if tls else "")
            if rule is not None:
                return link_targets(self.view, rule.targets, rules.meta.namespace, at.port), rule.source
        return (Destination(cluster.name),), port.source


def default_route(destinations: tuple[Destination, ...], source: SourceRef) -> Route:
    """What a service's port does where no HTTP rule says otherwise."""
    return Route(source, RouteMatch(), Forward(destinations), name="default", retry=DEFAULT_RETRY)


def service_domains(service: MeshService, namespace: str) -> list[str]:
    """The names by which clients of a namespace call a service: short forms only of Kubernetes services, its addresses too.

    The port may stand behind any of them; it is the table's, so the names without it are enough for requests of that port.
    """
    names = [service.host]
    suffix = f".svc.{CLUSTER_DOMAIN}"
    if service.host.endswith(suffix):
        stem = service.host.removesuffix(suffix)
        names += [f"{stem}.svc", stem]
        name, _, owner = stem.partition(".")
        if owner == namespace:
            names.append(name)
    names += [address for address in service.origin.addresses if "/" not in address]
    return names


def _first_by_host(services: list[VirtualService]) -> dict[str, VirtualService]:
    found: dict[str, VirtualService] = {}
    for service in services:
        for host, _ in hosts_of(service):
            found.setdefault(host, service)
    return found
