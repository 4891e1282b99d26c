"""What a sidecar accepts: a listener per target port of the services that select its workload, or per ingress of its Sidecar; and, where
connections are intercepted, what comes to other ports."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compiler.link.authentication import peer_mode, ports_apart
from compiler.link.clusters import INBOUND_PASSTHROUGH, limited, pool_limits, target_port
from compiler.link.draft import virtual_host_sections
from compiler.link.limits import Limited, limits_on, with_limits
from compiler.link.server_tls import downstream_tls, mesh_tls
from compiler.mesh import Mesh, MeshService
from compiler.resources.destination_rule import ConnectionPool
from compiler.resources.gateway import ServerTlsSettings
from compiler.resources.kubernetes import Port, Workload
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.protocol import AUTO, cluster_protocol, is_http
from compiler.resources.sidecar import IngressListener, Sidecar
from policies.match import RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, Forward
from snapshot.section import (
    ApplicationEndpoint,
    Bind,
    Cluster,
    DownstreamTls,
    FilterChain,
    HttpChain,
    Listener,
    Route,
    RouteTable,
    Section,
    ServiceName,
    TcpChain,
    UndeclaredPort,
    VirtualHost,
    WorkloadPort,
)

"""Istio's inbound policy: only what the application cannot have seen is sent again."""
Ways = list[tuple[str, DownstreamTls | None]]


class Accepted(msgspec.Struct, frozen=True):
    """One inbound port: where connections come in, what they speak, and where the application takes them. ``service`` is for metrics."""

    number: int
    protocol: str
    bind: Bind
    endpoint: ApplicationEndpoint
    service: ServiceName
    service_port: int
    source: SourceRef
    pool: ConnectionPool | None = None
    tls: ServerTlsSettings | None = None


def inbound(mesh: Mesh, workload: Workload, sidecar: Sidecar | None, policies: str) -> list[Section]:
    """All inbound sections of a workload: of what its Sidecar lists, or else of the services that it stands behind."""
    sections: list[Section] = []
    accepted = accepted_ports(mesh, workload, sidecar)
    for port in accepted:
        sections += _port(mesh, workload, port, policies)
    return [*sections, *_undeclared(mesh, workload, policies, {port.number for port in accepted})]


def _undeclared(mesh: Mesh, workload: Workload, policies: str, declared: set[int]) -> Iterator[Section]:
    """What becomes of connections to other ports: under the workload's policies they go on to where they were going (Istio)."""
    # The mesh's source, and not the workload's: then workloads under the same policies have these sections in common.
    cluster, source = INBOUND_PASSTHROUGH, mesh.source
    yield limited(mesh, cluster)
    yield RouteTable(cluster.name, source, unmatched=cluster.name)
    for number in (0, *ports_apart(mesh, workload.meta.namespace, workload.labels)):
        if number in declared:
            continue
        mode, told = peer_mode(mesh, workload.meta.namespace, workload.labels, number)
        port = Accepted(number, AUTO, UndeclaredPort(number), ApplicationEndpoint(number), cluster.service, 0, source)
        chains = _chains(port, cluster.name, cluster.name, _ways(mesh.config, mode, None), told, policies)
        yield Listener(f"undeclared|{number}", source, "inbound", port.bind, "auto", chains)


def accepted_ports(mesh: Mesh, workload: Workload, sidecar: Sidecar | None) -> list[Accepted]:
    """What a workload accepts, each port once. Of two services with the same target port the first by name decides its protocol."""
    found: dict[int, Accepted] = {}
    pool = sidecar.pool if sidecar else None
    for service, port in exposed_ports(mesh, workload):
        number = target_port(port, workload)
        if number:
            name = ServiceName(service.host, service.name, service.namespace)
            endpoint = ApplicationEndpoint(number)
            accepted = Accepted(
                number, port.protocol, WorkloadPort(number), endpoint, name, port.number, port.source, pool
            )
            found.setdefault(number, accepted)
    if sidecar is None or not sidecar.ingress:
        return list(found.values())
    meta = sidecar.meta
    nameless = ServiceName(f"{meta.name}.{meta.namespace}", meta.name, meta.namespace)
    return [_listed(one, found.get(one.port), nameless, pool) for one in sidecar.ingress]


def _listed(
    written: IngressListener, served: Accepted | None, nameless: ServiceName, pool: ConnectionPool | None
) -> Accepted:
    """A port that a Sidecar lists; of a service that has it as its target port the metrics keep the name (Istio)."""
    return Accepted(
        number=written.port,
        protocol=written.protocol,
        bind=written.bind,
        endpoint=written.endpoint,
        service=served.service if served else nameless,
        service_port=served.service_port if served else written.port,
        source=written.source,
        pool=written.pool or pool,
        tls=written.tls,
    )


def exposed_ports(mesh: Mesh, workload: Workload) -> list[tuple[MeshService, Port]]:
    """The service ports behind which a workload stands, in order."""
    labels = set(workload.labels)
    return [
        (service, port)
        for service in mesh.services_in(workload.meta.namespace)
        if service.selector and set(service.selector) <= labels
        for port in service.ports
    ]


def _port(mesh: Mesh, workload: Workload, port: Accepted, policies: str) -> list[Section]:
    number = port.number
    cluster = _cluster(mesh, port)
    mode, source = peer_mode(mesh, workload.meta.namespace, workload.labels, number)
    name = f"inbound|{number}"
    chains = _chains(port, cluster.name, name, _ways(mesh.config, mode, port.tls), source, policies)
    protocol = "http" if is_http(port.protocol) else "auto" if port.protocol == AUTO else "tcp"
    listener = Listener(name, port.source, "inbound", port.bind, protocol, chains)
    if protocol == "tcp":
        return [cluster, listener]
    route = Route(
        port.source,
        RouteMatch(),
        Forward((Destination(cluster.name),)),
        name="default",
        retry=mesh.config.inbound_retry,
    )
    host = VirtualHost(name, f"inbound|http|{number}", ("*",), port.source)
    routes = with_limits([route], _limits(mesh, workload, number))
    return [cluster, listener, RouteTable(name, port.source), *virtual_host_sections(host, routes)]


def _limits(mesh: Mesh, workload: Workload, number: int) -> Limited:
    """The rate limits of the services that have a port here, and of that port."""
    exposed = exposed_ports(mesh, workload) if mesh.rate_limits else ()
    return tuple(
        limit
        for service, port in exposed
        if target_port(port, workload) == number
        for limit in limits_on(mesh, service.meta, port.name)
    )


def _cluster(mesh: Mesh, port: Accepted) -> Cluster:
    # An application is spoken to as the client speaks (Istio), whatever its port declares: it was the client who knew.
    protocol = "same" if is_http(port.protocol) else cluster_protocol(port.protocol)
    made = Cluster(
        name=f"inbound|{port.number}||",
        service=port.service,
        endpoints=port.endpoint,
        sources=(port.source,),
        port=port.service_port,
        protocol=protocol,
        balance="round_robin",
    )
    if port.pool is None:
        return limited(mesh, made)
    return msgspec.structs.replace(made, limits=pool_limits(mesh, port.pool))


def _chains(
    port: Accepted, cluster: str, table: str, ways: Ways, source: SourceRef, policies: str
) -> tuple[FilterChain, ...]:
    """The ways in, each as HTTP, TCP or, where the protocol is not declared, both."""
    chains = []
    for way, tls in ways:
        if is_http(port.protocol) or port.protocol == AUTO:
            chains.append(FilterChain(f"{way}-http", source, HttpChain(table, policies), tls=tls))
        if not is_http(port.protocol):
            destinations = (Destination(cluster),)
            chains.append(FilterChain(f"{way}-tcp", source, TcpChain(destinations, port.source, policies), tls=tls))
    if len(ways) > 1 and not is_http(port.protocol):
        # The application's own TLS is none of the mesh's: a ClientHello that does not speak the mesh's protocols goes through.
        network = TcpChain((Destination(cluster),), port.source, policies)
        chains.append(FilterChain("passthrough-tcp", source, network, passthrough=True))
    return tuple(chains)


def _ways(config: MeshConfig, mode: str, tls: ServerTlsSettings | None) -> Ways:
    """Mesh TLS unless disabled, plain text unless strict.

    TLS of the operator's takes the place of plain text where the mesh's own is disabled; elsewhere it has no effect (Istio).
    """
    if mode == "DISABLE":
        return [("plain", None) if tls is None else ("tls", downstream_tls(config, tls, lambda name: name))]
    mesh: Ways = [("mtls", mesh_tls(config))]
    return mesh if mode == "STRICT" else [*mesh, ("plain", None)]
