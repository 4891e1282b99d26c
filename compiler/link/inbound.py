"""What a sidecar accepts: a listener per target port of the services that select its workload, and the application behind it."""

from __future__ import annotations

from compiler.link.authentication import peer_mode
from compiler.link.clusters import target_port
from compiler.link.draft import virtual_host_sections
from compiler.mesh import Mesh, MeshService
from compiler.resources.kubernetes import Port, Workload
from compiler.resources.protocol import AUTO, cluster_protocol, is_http
from policies.match import RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, Forward, Retry
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    DownstreamTls,
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    Route,
    RouteTable,
    Section,
    ServiceName,
    TcpChain,
    VirtualHost,
    WorkloadPort,
)

INBOUND_RETRY = Retry(attempts=2, on=("reset-before-request",), statuses=())
"""Istio's inbound policy: only what the application cannot have seen is sent again."""


def inbound(mesh: Mesh, workload: Workload, policies: str) -> list[Section]:
    """All inbound sections of a workload. Of two services with the same target port the first by name decides its protocol."""
    sections: list[Section] = []
    seen: set[int] = set()
    for service, port in exposed_ports(mesh, workload):
        number = target_port(port, workload)
        if number and number not in seen:
            seen.add(number)
            sections += _port(mesh, workload, service, port, number, policies)
    return sections


def exposed_ports(mesh: Mesh, workload: Workload) -> list[tuple[MeshService, Port]]:
    """The service ports behind which a workload stands, in order."""
    labels = set(workload.labels)
    return [
        (service, port)
        for service in mesh.services_in(workload.meta.namespace)
        if service.selector and set(service.selector) <= labels
        for port in service.ports
    ]


def _port(
    mesh: Mesh, workload: Workload, service: MeshService, port: Port, number: int, policies: str
) -> list[Section]:
    cluster = Cluster(
        name=f"inbound|{number}||",
        service=ServiceName(service.host, service.name, service.namespace),
        endpoints=ApplicationEndpoint(number),
        sources=(port.source,),
        port=port.number,
        protocol=cluster_protocol(port.protocol),
        balance="round_robin",
    )
    mode, source = peer_mode(mesh, workload.meta.namespace, workload.labels, number)
    name = f"inbound|{number}"
    chains = _chains(port, cluster.name, name, mode, source, policies)
    protocol = "http" if is_http(port.protocol) else "auto" if port.protocol == AUTO else "tcp"
    listener = Listener(name, port.source, "inbound", WorkloadPort(number), protocol, chains)
    if protocol == "tcp":
        return [cluster, listener]
    route = Route(port.source, RouteMatch(), Forward((Destination(cluster.name),)), name="default", retry=INBOUND_RETRY)
    host = VirtualHost(name, f"inbound|http|{number}", ("*",), port.source)
    return [cluster, listener, RouteTable(name, port.source), *virtual_host_sections(host, [route])]


def _chains(
    port: Port, cluster: str, table: str, mode: str, source: SourceRef, policies: str
) -> tuple[FilterChain, ...]:
    """Mesh TLS unless disabled, plain text unless strict; each as HTTP, TCP or, where the protocol is not declared, both."""
    ways: list[tuple[str, DownstreamTls | None]] = []
    if mode != "DISABLE":
        ways.append(("mtls", MeshTls()))
    if mode != "STRICT":
        ways.append(("plain", None))
    chains = []
    for way, tls in ways:
        if is_http(port.protocol) or port.protocol == AUTO:
            chains.append(FilterChain(f"{way}-http", source, HttpChain(table, policies), tls=tls))
        if not is_http(port.protocol):
            destinations = (Destination(cluster),)
            chains.append(FilterChain(f"{way}-tcp", source, TcpChain(destinations, port.source, policies), tls=tls))
    if mode == "PERMISSIVE" and not is_http(port.protocol):
        # The application's own TLS is none of the mesh's: a ClientHello that does not speak the mesh's protocols goes through.
        network = TcpChain((Destination(cluster),), port.source, policies)
        chains.append(FilterChain("passthrough-tcp", source, network, passthrough=True))
    return tuple(chains)
