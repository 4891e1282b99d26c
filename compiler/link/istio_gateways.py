"""Slices of gateways that Istio's Gateway kind configures: a listener per port, a chain per server."""

from __future__ import annotations

import msgspec

from compiler.gateways import GatewayProxy
from compiler.hosts import overlap
from compiler.link.authorization import POLICIES, policy_set
from compiler.link.clusters import port_modes
from compiler.link.draft import LinkedSlice, ProxyShape, SliceDraft, used_clusters
from compiler.link.gateway_hosts import HostTable, bound_services, common_hosts
from compiler.link.proxies import described_proxy
from compiler.link.server_tls import downstream_tls, mesh_tls
from compiler.link.tokens import guarded
from compiler.link.view import View
from compiler.link.virtual_services import Standpoint, connection_rule, link_targets
from compiler.mesh import Mesh, MeshService
from compiler.resources.gateway import Gateway, Server
from compiler.resources.virtual_service import ConnectionRule, VirtualService
from policies.traffic import Destination
from snapshot.section import (
    DownstreamTls,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    RegisteredEndpoints,
    Section,
    StaticEndpoints,
    TcpChain,
)

HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
Placed = tuple[Gateway, int, Server]


def istio_gateway(mesh: Mesh, proxy: GatewayProxy, view: View) -> LinkedSlice:
    """The slice of one gateway."""
    policies = policy_set(mesh, proxy.namespace, proxy.labels)
    settings = proxy.settings.over(mesh.config.proxies)
    links = _GatewayLink(proxy, view, POLICIES if policies else "", proxied=bool(settings.proxied))
    sections = [section for place, servers in proxy.servers().items() for section in links.port(*place, servers)]
    draft = SliceDraft()
    if policies is not None:
        draft.add((policies,))
    draft.add(guarded(sections, mesh, proxy.namespace, proxy.labels))
    draft.add(used_clusters(sections, view.clusters))
    stem = f"{proxy.namespace}/{proxy.name}" if proxy.workload else proxy.name
    shape = ProxyShape(f"gateway/{stem}", proxy.kind, proxy.namespace, proxy.labels)
    described = described_proxy(
        mesh,
        name=proxy.name,
        namespace=proxy.namespace,
        account=proxy.account,
        labels=proxy.labels,
        settings=settings,
        gateway=True,
    )
    return draft.finish(shape, described)


class _GatewayLink:
    """Links one gateway's ports. Holds what all of them share and owns nothing."""

    def __init__(self, proxy: GatewayProxy, view: View, policies: str, *, proxied: bool) -> None:
        self.proxied = proxied
        self.proxy = proxy
        self.view = view
        self.policies = policies

    def port(self, number: int, address: str, servers: list[Placed]) -> list[Section]:
        """The listener of one port (of one address) and what it refers to; servers of plain HTTP share one route table."""
        place = f"{number}@{address}" if address else str(number)
        plain = [placed for placed in servers if _is_plain_http(placed[2])]
        sections: list[Section] = []
        chains: list[FilterChain] = []
        if plain:
            chains += self._plain_http(number, place, plain, sections)
        for placed in servers:
            if not _is_plain_http(placed[2]):
                chains += self._server(number, place, placed, sections)
        chains = without_rivals(chains)
        if not chains:
            return sections
        http = any(isinstance(chain.network, HttpChain) for chain in chains)
        listener = Listener(
            name=f"gateway:{place}",
            source=servers[0][2].source,
            direction="gateway",
            bind=GatewayPort(number, address=address),
            protocol="http" if http else "tcp",
            chains=tuple(chains),
            proxy_protocol=self.proxied,
        )
        return [*sections, listener]

    def _plain_http(self, number: int, place: str, servers: list[Placed], sections: list[Section]) -> list[FilterChain]:
        table = HostTable(self.view, self.proxy.labels, f"http.{place}", number)
        redirecting = [_redirects(server) for _, _, server in servers]
        for (gateway, _, server), redirect in zip(servers, redirecting, strict=True):
            table.serve(gateway, server, redirect=redirect and not all(redirecting))
        sections += table.sections()
        source = servers[0][2].source
        plain = HttpChain(table.name, self.policies, edge=True, https_redirect=all(redirecting))
        # Sidecars reach a gateway as they reach any workload of the mesh: with mutual TLS on the same port.
        mesh = HttpChain(table.name, self.policies, https_redirect=all(redirecting))
        return [
            FilterChain("http", source, plain),
            FilterChain("mtls-http", source, mesh, tls=mesh_tls(self.view.mesh.config)),
        ]

    def _server(self, number: int, place: str, placed: Placed, sections: list[Section]) -> list[FilterChain]:
        gateway, index, server = placed
        name = f"{gateway.meta.namespace}/{gateway.meta.name}/{index}"
        if server.tls is not None and server.tls.mode == "PASSTHROUGH":
            if gateway.fails:
                closed = self._closed(server)
                return [FilterChain(name, server.source, closed, server_names(server), passthrough=True)]
            return self._passthrough(number, gateway, server, name)
        if server.tls is not None and server.tls.mode == AUTO_PASSTHROUGH:
            return [] if gateway.fails else self._auto_passthrough(gateway, server, name, sections)
        if server.tls is not None and not server.tls.mode:
            return []
        tls = downstream_tls(self.view.mesh.config, server.tls, self._slot) if server.tls else None
        if gateway.fails and server.protocol != "HTTPS":
            return [FilterChain(name, server.source, self._closed(server), server_names(server) if tls else (), tls)]
        if server.protocol == "HTTPS":
            table = HostTable(self.view, self.proxy.labels, f"https.{place}.{name}", number)
            table.serve(gateway, server, redirect=False)
            sections += table.sections()
            network = HttpChain(table.name, self.policies, edge=not isinstance(tls, MeshTls))
            return [FilterChain(name, server.source, network, server_names(server), tls)]
        return self._connections(number, gateway, server, name, tls)

    def _slot(self, credential: str) -> str:
        """A secret's slot: of the gateway workload's own namespace unless another is written (Istio)."""
        name = credential.removeprefix("kubernetes://")
        return name if "/" in name else f"{self.proxy.namespace}/{name}"

    def _connections(
        self, number: int, gateway: Gateway, server: Server, name: str, tls: DownstreamTls | None
    ) -> list[FilterChain]:
        """TCP servers, plain or behind TLS that ends here: the first bound VirtualService with a fitting tcp rule decides."""
        for service in bound_services(self.view, gateway):
            rule = connection_rule(service, service.tcp, self._standpoint(gateway, number))
            if rule is None or not common_hosts(gateway, server, service):
                continue
            network = self._tcp(service, rule, number)
            names = server_names(server) if tls is not None else ()
            return [FilterChain(name, server.source, network, names, tls)]
        return []

    def _passthrough(self, number: int, gateway: Gateway, server: Server, name: str) -> list[FilterChain]:
        """TLS that ends behind the gateway: a chain per server name of each bound ``tls`` rule."""
        chains = []
        at = self._standpoint(gateway, number)
        for service in bound_services(self.view, gateway):
            allowed = common_hosts(gateway, server, service)
            names = [host.lower() for rule in service.tls for match in rule.matches for host in match.server_names]
            for server_name in dict.fromkeys(names):
                rule = connection_rule(service, service.tls, at, server_name)
                if rule is None or all(overlap(host, server_name) is None for host in allowed):
                    continue
                shown = () if server_name == "*" else (server_name,)
                chain = f"{name}/{server_name}"
                network = self._tcp(service, rule, number)
                chains.append(FilterChain(chain, rule.source, network, shown, passthrough=True))
        return chains

    def _auto_passthrough(
        self, gateway: Gateway, server: Server, name: str, sections: list[Section]
    ) -> list[FilterChain]:
        """Mesh TLS that goes through to whom its server name says (``outbound_.80_.v1_.reviews.shop.svc.cluster.local``), without a route.

        Between networks a sidecar reaches the workloads behind this gateway by the same name under which it calls them directly. Only they ask
        who comes, so there is no way to a port whose workloads do without mutual TLS, nor for who does not speak the mesh's protocols (Istio).
        """
        chains = []
        for service in self.view.services.values():
            if not _takes(gateway, server, service):
                continue
            for port in service.ports:
                if "DISABLE" in port_modes(self.view.mesh, service, port):
                    continue
                for subset in ("", *self.view.rule(service).subsets):
                    cluster = self.view.cluster(service, port, subset)
                    if cluster is None or not isinstance(cluster.endpoints, RegisteredEndpoints | StaticEndpoints):
                        continue
                    server_name = f"outbound_.{port.number}_.{subset}_.{service.host}"
                    through = msgspec.structs.replace(
                        cluster, name=server_name, tls=None, protocol="tcp", mesh_only=True
                    )
                    sections.append(through)
                    network = TcpChain((Destination(server_name),), server.source, self.policies)
                    chain = f"{name}/{server_name}"
                    chains.append(
                        FilterChain(chain, server.source, network, (server_name,), passthrough=True, from_mesh=True)
                    )
        return chains

    def _closed(self, server: Server) -> TcpChain:
        """What connections to a broken Gateway come to: no destination, so they are closed."""
        return TcpChain((Destination(cluster="", status=503),), server.source, self.policies)

    def _tcp(self, service: VirtualService, rule: ConnectionRule, number: int) -> TcpChain:
        destinations = link_targets(self.view, rule.targets, service.meta.namespace, number)
        return TcpChain(destinations, rule.source, self.policies)

    def _standpoint(self, gateway: Gateway, number: int) -> Standpoint:
        name = f"{gateway.meta.namespace}/{gateway.meta.name}"
        return Standpoint(name, number, self.view.namespace, self.proxy.labels)


def without_rivals(chains: list[FilterChain]) -> list[FilterChain]:
    """Chains of which each can be told from the others: of those that claim one server name, or all plain bytes, the first has it."""
    claimed: set[tuple[str, str]] = set()
    kept = []
    for chain in chains:
        way = "mesh" if isinstance(chain.tls, MeshTls) else "tls" if chain.tls or chain.passthrough else "plain"
        names = [name for name in chain.server_names or ("",) if (way, name) not in claimed]
        claimed.update((way, name) for name in names)
        if names:
            shown = tuple(names) if chain.server_names else ()
            kept.append(msgspec.structs.replace(chain, server_names=shown))
    return kept


def server_names(server: Server) -> tuple[str, ...]:
    """The names by which a ClientHello chooses a server; none means any, also no name at all."""
    names = tuple(dict.fromkeys(host.host for host in server.hosts))
    return () if "*" in names else names


def _takes(gateway: Gateway, server: Server, service: MeshService) -> bool:
    """Whether a server's hosts name a service."""
    own = {".": gateway.meta.namespace}
    return any(
        own.get(host.namespace, host.namespace) in ("*", service.namespace)
        and overlap(host.host, service.host) is not None
        for host in server.hosts
    )


def _is_plain_http(server: Server) -> bool:
    return server.protocol in HTTP_PROTOCOLS


def _redirects(server: Server) -> bool:
    return server.tls is not None and server.tls.https_redirect
