"""What a sidecar sends to the hosts of one egress listener: tables per port with a virtual host per service, listeners per service and port."""

from __future__ import annotations

from functools import cached_property

import msgspec

from compiler.hosts import covers, specificity
from compiler.link.draft import virtual_host_sections
from compiler.link.http_routes import mesh_routes
from compiler.link.names import ServiceAddresses
from compiler.link.view import View
from compiler.link.virtual_services import Standpoint, binds, connection_rule, hosts_of, http_routes, link_targets
from compiler.mesh import MeshService
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Port, Service
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.resources.protocol import AUTO, TLS, is_http
from compiler.resources.sidecar import EgressListener
from compiler.resources.virtual_service import MESH, VirtualService
from policies.match import RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Retry
from snapshot.section import (
    Cluster,
    FilterChain,
    HttpChain,
    Listener,
    Route,
    RouteTable,
    Section,
    ServicePort,
    TcpChain,
    VirtualHost,
)

FALLBACK_PORT = 80
"""The port of VirtualService hosts that no service declares (Istio)."""

PROXY = "http_proxy"


class Share:
    """One egress listener as link takes it: what it knows, and the ports whose tables it makes. ``written`` is None without a Sidecar.
    ``addresses`` are those of services as its proxies know them.

    ``named`` are the ports that listeners before it name, or, for the one without a port, that any listener names: their tables are others'.
    """

    def __init__(
        self,
        view: View,
        written: EgressListener | None = None,
        named: frozenset[int] = frozenset(),
        addresses: ServiceAddresses | None = None,
    ) -> None:
        self.view = view
        self.addresses = addresses or ServiceAddresses(view.mesh, view.namespace, None)
        self.written = written
        self._named = named

    @property
    def group(self) -> str:
        """The name of the tables that are its alone, for all ports: of a proxy listener and of a Unix socket. "" where ports tell them apart."""
        written = self.written
        if written is None or written.port is None or (written.port and written.protocol != PROXY):
            return ""
        return own_name(written, written.port)

    @property
    def prefix(self) -> str:
        """What stands before the names of tables that are not found by their port: a group's, or those of a port that is another's too."""
        written = self.written
        if self.group or written is None or written.port is None or written.port not in self._named:
            return self.group
        return own_name(written, written.port)

    def governs(self, number: int) -> bool:
        """Whether what is said of a port is this listener's to say."""
        if self.group:
            return True
        port = self.written.port if self.written else None
        return number not in self._named if port is None else number == port


def own_name(written: EgressListener, number: int) -> str:
    """How a listener with an address of its own is called (Istio: address and port)."""
    bind = written.bind or "127.0.0.1"
    return f"{bind}_{number}" if number else bind


class PortTables:
    """The sections of one egress listener for one combination of source labels. Owns them while they are made.

    ``ports`` are the services by port; a port has a table where something is routed there.
    """

    def __init__(self, share: Share, labels: Labels) -> None:
        self.share = share
        self.view = share.view
        self.labels = labels
        self.ports: dict[int, list[tuple[MeshService, Port]]] = {}
        self.sections: list[Section] = []
        self._domains: dict[int, set[str]] = {}
        self._virtual_services = [item for item in self.view.virtual_services if binds(item, MESH)]
        self._by_host = _first_by_host(self._virtual_services)
        self._wildcards = sorted((host for host in self._by_host if host.startswith("*")), key=specificity)
        self._attached = mesh_routes(self.view)

    def link(self, unmatched: str, source: SourceRef) -> None:
        """Makes the sections. ``unmatched`` is what takes requests to hosts that no virtual host claims, and ``source`` says so."""
        services = list(self.view.known_services.items())
        # An exact name claims its domains before a wildcard can; services of Kubernetes before entries that repeat them.
        services.sort(key=lambda item: (item[0].startswith("*"), not isinstance(item[1].origin, Service), item[0]))
        for host, service in services:
            for port in service.ports:
                if self.share.governs(port.number):
                    self._service_port(host, service, port)
        if self.share.governs(FALLBACK_PORT):
            self._hosts_without_service()
        for host, service in self.failing:
            domains, told = service_domains(host, self.view.namespace, service.origin.addresses), service.meta.source
            for number in self.numbers:
                self._virtual_host(number, host, domains, told, [refusal(told)])
        share = self.share
        for number in sorted(self._domains):
            asked = 0 if share.prefix and not share.group else number
            self.sections.append(RouteTable(self.table(number), source, asked, unmatched, share.group))

    @cached_property
    def failing(self) -> list[tuple[str, MeshService]]:
        """The Services that stand in for broken ones, by host: it is not known on which ports they are called."""
        services = self.view.known_services.items()
        return [(host, item) for host, item in services if isinstance(item.origin, Service) and item.origin.fails]

    def refusals(self, table: str) -> list[Section]:
        """The virtual hosts of failing Services in a table of ports that nothing else is known of."""
        found: list[Section] = []
        for host, service in self.failing:
            domains = tuple(service_domains(host, self.view.namespace, service.origin.addresses))
            section = VirtualHost(table, host, domains, service.meta.source)
            found += virtual_host_sections(section, [refusal(service.meta.source)])
        return found

    @property
    def numbers(self) -> list[int]:
        """The ports that have a table or a service, ascending."""
        return sorted({*self._domains, *self.ports})

    def table(self, number: int) -> str:
        """The name of a port's table."""
        return f"{self.share.prefix}|{number}" if self.share.prefix else str(number)

    def _service_port(self, host: str, service: MeshService, port: Port) -> None:
        cluster = self.view.cluster(service, port)
        assert cluster is not None
        if host == service.host:
            self.ports.setdefault(port.number, []).append((service, port))
        addresses = self.share.addresses.of(service)
        at = self._standpoint(port.number, addresses)
        rules = self._rules_for(host) or self._rules_for(service.host)
        routes = self._routes(service, port, cluster, rules, at)
        addresses = addresses if host == service.host else ()
        domains = service_domains(host, self.view.namespace, addresses)
        self._virtual_host(port.number, host, domains, port.source, routes)
        # Nobody calls a pattern by its name, but by an address that stands for all of it.
        if (addresses or not host.startswith("*")) and not self.share.prefix:
            listener = self._listener(host, port, cluster, rules, at)
            self.sections.append(msgspec.structs.replace(listener, addresses=addresses))

    def _standpoint(self, number: int, addresses: tuple[str, ...] = ()) -> Standpoint:
        return Standpoint(MESH, number, self.view.namespace, self.labels, addresses)

    def connections(self, service: MeshService, port: Port) -> tuple[tuple[Destination, ...], SourceRef]:
        """Where connections to a service's port go that carry bytes as they come, and what says so."""
        cluster = self.view.cluster(service, port)
        assert cluster is not None
        return self._connections(
            service.host,
            port,
            cluster,
            self._rules_for(service.host),
            self._standpoint(port.number, self.share.addresses.of(service)),
        )

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
            return [default_route((Destination(cluster.name),), port.source, self.view.mesh.config.retry)]
        # The explicit proxy finds other protocols here too: a CONNECT to the port goes where a connection would.
        return [default_route(*self._connections(service.host, port, cluster, rules, at), self.view.mesh.config.retry)]

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
            section = VirtualHost(self.table(number), f"{host}:{number}", free, source)
            self.sections.extend(virtual_host_sections(section, routes))

    def _hosts_without_service(self) -> None:
        """Virtual hosts for names that only VirtualServices know; a VirtualService that reaches some service has none (Istio)."""
        for item in self._virtual_services:
            hosts = [host for host, _ in hosts_of(item) if self._by_host[host] is item]
            if not item.http or any(self._reaches_a_service(host) for host in hosts):
                continue
            at = self._standpoint(FALLBACK_PORT)
            for host in hosts:
                self._virtual_host(FALLBACK_PORT, host, [host], item.meta.source, http_routes(self.view, item, at))

    def _reaches_a_service(self, host: str) -> bool:
        known = self.view.known_services
        return host in known or (host.startswith("*") and any(covers(host, service) for service in known))

    def _listener(
        self, host: str, port: Port, cluster: Cluster, rules: VirtualService | None, at: Standpoint
    ) -> Listener:
        chains: list[FilterChain] = []
        if is_http(port.protocol) or port.protocol == AUTO:
            chains.append(FilterChain("http", port.source, HttpChain(str(port.number), host=host)))
        if not is_http(port.protocol):
            destinations, source = self._connections(host, port, cluster, rules, at)
            chains.append(FilterChain("tcp", source, TcpChain(destinations, source)))
        protocol = "http" if is_http(port.protocol) else "auto" if port.protocol == AUTO else "tcp"
        name = f"{host}:{port.number}"
        return Listener(name, port.source, "outbound", ServicePort(host, port.number), protocol, tuple(chains))

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


def default_route(destinations: tuple[Destination, ...], source: SourceRef, retry: Retry) -> Route:
    """What a service's port does where no HTTP rule says otherwise."""
    return Route(source, RouteMatch(), Forward(destinations), name="default", retry=retry)


def refusal(source: SourceRef) -> Route:
    """What a Service that nobody can read answers."""
    return Route(source, RouteMatch(), DirectResponse(503, flag="UH"), name="default")


def service_domains(host: str, namespace: str, addresses: tuple[str, ...]) -> list[str]:
    """The names by which clients of a namespace call a service: short forms only of Kubernetes services, its addresses too.

    ``host`` is the service's own or an alias's, which has no addresses.
    The port may stand behind any of them; it is the table's, so the names without it are enough for requests of that port.
    """
    names = [host]
    suffix = f".svc.{CLUSTER_DOMAIN}"
    if host.endswith(suffix):
        stem = host.removesuffix(suffix)
        names += [f"{stem}.svc", stem]
        name, _, owner = stem.partition(".")
        if owner == namespace:
            names.append(name)
    return names + [f"[{one}]" if ":" in one else one for one in addresses if "/" not in one]


def _first_by_host(services: list[VirtualService]) -> dict[str, VirtualService]:
    found: dict[str, VirtualService] = {}
    for service in services:
        for host, _ in hosts_of(service):
            found.setdefault(host, service)
    return found
