"""From a cluster's endpoint source and the live data to its endpoints: pure, so that what a registry means can be tested by tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.token_keys import TokenKeys
from snapshot.live import RegisteredWorkload, Registry, Resolved
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    DnsEndpoints,
    Endpoint,
    EndpointSource,
    MeshUpstream,
    OriginalDestination,
    RegisteredEndpoints,
    StaticEndpoints,
    UpstreamTls,
)

Names = Mapping[tuple[str, int], tuple[str, ...]]


MAX_HELD = 4096
"""Of how many clusters the last endpoints are remembered at most."""


class LiveData(msgspec.Struct):
    """What fills the slots of a slice on this machine now: the registered workloads by namespace, what DNS says by (host, port).

    ``held`` are the last endpoints of clusters that keep them when all have gone. ``tokens`` has the keys that tokens are checked by.
    """

    bootstrap: Bootstrap
    workloads: dict[str, list[RegisteredWorkload]] = {}
    names: dict[tuple[str, int], tuple[str, ...]] = {}
    held: dict[tuple[str, EndpointSource, UpstreamTls | None], tuple[Endpoint, ...]] = {}
    tokens: TokenKeys = msgspec.field(default_factory=TokenKeys)

    def with_registry(self, registry: Registry) -> None:
        """Takes in the registered workloads."""
        self.workloads = {}
        for workload in registry.workloads:
            self.workloads.setdefault(workload.namespace, []).append(workload)

    def with_names(self, resolved: list[Resolved]) -> None:
        """Takes in what was resolved; an empty answer keeps the last good addresses (fail static)."""
        for one in resolved:
            if one.addresses or (one.host, one.port) not in self.names:
                self.names[one.host, one.port] = one.addresses


def endpoints_of(cluster: Cluster, live: LiveData) -> tuple[Endpoint, ...]:
    """The endpoints that may be used now, in a stable order, without those of weight 0, and those outside the mesh where only that may be reached."""
    source = cluster.endpoints
    match source:
        case StaticEndpoints(endpoints):
            found = endpoints
        case DnsEndpoints(names, logical):
            found = tuple(endpoint for name in names for endpoint in _resolved(name, live, logical=logical))
        case RegisteredEndpoints():
            found = _with_static(source, registered(cluster, source, live.workloads.get(source.namespace, [])))
        case ApplicationEndpoint(port, exposed, path):
            real = live.bootstrap.application_ports.get(str(port), port)
            where = live.bootstrap.address if exposed else live.bootstrap.application
            found = (Endpoint(address=path or where, port=0 if path else real),)
        case OriginalDestination():
            found = ()
        case _:
            assert_never(source)
    usable = tuple(endpoint for endpoint in found if endpoint.weight > 0 and (endpoint.mesh or not cluster.mesh_only))
    return _held(cluster, live, usable) if cluster.holds else usable


def _with_static(source: RegisteredEndpoints, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints of Git and those registered. Of a machine that is both, what it says itself holds: that it speaks mesh TLS, and as whom."""
    if not source.static or not found:
        return source.static or found
    live = {(one.address, one.port) for one in found}
    return (*(one for one in source.static if (one.address, one.port) not in live), *found)


def _held(cluster: Cluster, live: LiveData, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints, or where there are none, the last ones that there were by the same slot and under the same identities."""
    key = (cluster.name, cluster.endpoints, cluster.tls)
    if found:
        if len(live.held) >= MAX_HELD:
            live.held.pop(next(iter(live.held)))
        live.held[key] = found
    return found or live.held.get(key, ())


def _resolved(name: tuple[str, int], live: LiveData, *, logical: bool) -> tuple[Endpoint, ...]:
    addresses = live.names.get(name, ())
    if logical:
        return (Endpoint(address=addresses[0], port=name[1], others=addresses[1:]),) if addresses else ()
    return tuple(Endpoint(address=address, port=name[1]) for address in sorted(addresses))


def registered(
    cluster: Cluster, source: RegisteredEndpoints, workloads: list[RegisteredWorkload]
) -> tuple[Endpoint, ...]:
    """The workloads of the slot's namespace that fill it. Secure naming guards registration too: under an identity that the cluster does not
    list, a workload is no endpoint, whatever labels it claims."""
    wanted = set(source.labels)
    identities = cluster.tls.identities if isinstance(cluster.tls, MeshUpstream) else ()
    found = []
    for workload in workloads:
        if not wanted <= set(workload.labels):
            continue
        if identities and workload.mesh and workload.identity not in identities:
            continue
        port = _port(source, workload)
        if port:
            found.append(_endpoint(workload, port))
    return tuple(sorted(found, key=lambda endpoint: (endpoint.address, endpoint.port)))


def _port(source: RegisteredEndpoints, workload: RegisteredWorkload) -> int:
    ports = dict(workload.ports)
    if source.port_name and source.port_name in ports:
        return ports[source.port_name]
    return ports.get(str(source.port), source.port)


def _endpoint(workload: RegisteredWorkload, port: int) -> Endpoint:
    return Endpoint(
        address=workload.address,
        port=port,
        mesh=workload.mesh,
        identity=workload.identity,
        labels=workload.labels,
        locality=workload.locality,
        workload=workload.name,
        namespace=workload.namespace,
    )
