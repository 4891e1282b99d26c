"""Clusters: where the endpoints of a service's port come from, and how a proxy speaks to them."""

from __future__ import annotations

import msgspec

from compiler.backend_policies import authority_slot, backend_authorities, backend_policy
from compiler.link.authentication import effective_mode
from compiler.link.balancing import locality_load
from compiler.link.server_tls import mesh_tls
from compiler.mesh import Mesh, MeshService
from compiler.resources.backend_tls import BackendTls
from compiler.resources.cursor import Labels
from compiler.resources.destination_rule import ClientTls, ConnectionPool, Subset, TrafficPolicy
from compiler.resources.endpoints import WorkloadEntry
from compiler.resources.kubernetes import Port, Service, Workload
from compiler.resources.load_balancer import LoadBalancer
from compiler.resources.protocol import TLS, UDP, cluster_protocol, is_http
from compiler.resources.service_entry import EntryEndpoint, ServiceEntry
from policies.balancing import labelled_locality
from policies.source import SourceRef
from snapshot.section import (
    Cluster,
    DnsEndpoints,
    Endpoint,
    EndpointSource,
    MeshUpstream,
    OriginalDestination,
    PoolLimits,
    RegisteredEndpoints,
    ServiceName,
    StaticEndpoints,
    TlsUpstream,
    UpstreamTls,
)

TLS_MODE_LABEL = ("security.istio.io/tlsMode", "istio")
PASSTHROUGH = Cluster("PassthroughCluster", ServiceName("", "PassthroughCluster", ""), OriginalDestination(), ())
INBOUND_PASSTHROUGH = Cluster(
    "InboundPassthroughCluster",
    ServiceName("", "InboundPassthroughCluster", ""),
    OriginalDestination(inbound=True),
    (),
    protocol="same",
    balance="round_robin",
)


def build_cluster(
    mesh: Mesh,
    namespace: str,
    name: str,
    service: MeshService,
    port: Port,
    subset: Subset | None,
    policy: TrafficPolicy,
    rules: tuple[SourceRef, ...],
    *,
    gateway: bool = False,
) -> Cluster:
    """The cluster of one port of a service as clients in ``namespace`` use it, sidecars or gateways."""
    tls = upstream_tls(mesh, namespace, service, port, subset, policy.tls)
    endpoints = endpoint_source(mesh, service, port, subset.labels if subset else ())
    balancer = policy.balancer or LoadBalancer()
    balance = balancer.balance
    if balance == "passthrough":
        endpoints, balance = OriginalDestination(), "round_robin"
    backend = backend_policy(mesh, service, port) if gateway and policy.tls is None and port.transport != UDP else None
    if backend is not None:
        tls = _backend_tls(mesh, backend)
        # A policy that can prove nothing lets nothing through (BackendTLSPolicy: such requests are answered 5xx).
        endpoints = StaticEndpoints(()) if tls is None else endpoints
    return Cluster(
        name=name,
        service=ServiceName(service.host, service.name, service.namespace),
        endpoints=endpoints,
        sources=(port.source, *rules, *((subset.source,) if subset else ()), *((backend.source,) if backend else ())),
        port=port.number,
        subset=subset.name if subset else "",
        protocol=_protocol(mesh, port, tls, policy, gateway=gateway),
        balance=balance,
        tls=tls,
        limits=msgspec.structs.replace(pool_limits(mesh, policy.pool), retry_budget=policy.retry_budget),
        hashing=balancer.hashing,
        holds=mesh.config.holds_endpoints and isinstance(endpoints, RegisteredEndpoints),
        outlier=policy.outlier,
        locality=locality_load(mesh, service, policy),
        utilization=balancer.utilization if endpoints != OriginalDestination() else None,
        warmup=balancer.warmup if balance in ("least_request", "round_robin") else None,
        proxy_protocol=policy.proxy_protocol,
        tunnel=policy.tunnel,
    )


def of_datagrams(cluster: Cluster) -> Cluster:
    """A cluster of a UDP port: what is said of TLS, tunnels and the PROXY protocol holds for connections, and datagrams have none."""
    return msgspec.structs.replace(cluster, protocol="udp", tls=None, proxy_protocol="", tunnel=None)


def limited(mesh: Mesh, cluster: Cluster) -> Cluster:
    """A cluster that no rule is about, under the mesh's own limits where it has any (defaultTrafficPolicy)."""
    baseline = mesh.config.baseline
    if baseline is None or baseline.pool is None:
        return cluster
    return msgspec.structs.replace(cluster, limits=pool_limits(mesh, baseline.pool))


def pool_limits(mesh: Mesh, pool: ConnectionPool | None) -> PoolLimits:
    """The limits of a pool that a rule describes, or of one that none does, which are the mesh's."""
    if pool is None and mesh.config.baseline is not None:
        pool = mesh.config.baseline.pool
    limits = pool.limits if pool else PoolLimits(connect_timeout_ms=0)
    timeout = limits.connect_timeout_ms or mesh.config.connect_timeout_ms
    keep_alive = limits.keep_alive or mesh.config.keep_alive
    return msgspec.structs.replace(limits, connect_timeout_ms=timeout, keep_alive=keep_alive)


def _protocol(mesh: Mesh, port: Port, tls: UpstreamTls | None, policy: TrafficPolicy, *, gateway: bool) -> str:
    if policy.pool is not None and policy.pool.same_as_downstream:
        return "same"
    protocol = cluster_protocol(port.protocol)
    if gateway and protocol == "same":
        # Only sidecars take from a client what a port does not declare (Istio).
        protocol = "http1"
    asked = policy.pool.upgrade if policy.pool is not None else None
    if protocol == "http1" and (mesh.config.upgrades if asked is None else asked):
        return "http2"
    # HTTP routed to a port that speaks HTTPS by itself is HTTP/1 inside the TLS that the rule originates.
    return "http1" if port.protocol in TLS and isinstance(tls, TlsUpstream) else protocol


def endpoint_source(mesh: Mesh, service: MeshService, port: Port, subset: Labels) -> EndpointSource:
    """Where the endpoints of a port come from. Labels of a subset that contradict the selector leave none."""
    origin = service.origin
    if isinstance(origin, Service) and origin.fails:
        return StaticEndpoints(())
    if isinstance(origin, Service) and origin.external_name:
        return DnsEndpoints(((origin.external_name, port.target or port.number),))
    if origin.selector:
        return _registered(mesh, service, port, subset)
    if isinstance(origin, ServiceEntry):
        return _entry_endpoints(service.host, origin, port, subset)
    return StaticEndpoints(_listed(mesh, origin, port, subset))


def _listed(mesh: Mesh, service: Service, port: Port, subset: Labels) -> tuple[Endpoint, ...]:
    """The endpoints that EndpointSlices and Endpoints in Git list for a port, found by its name (Kubernetes' rule)."""
    found: dict[Endpoint, None] = {}
    for group in mesh.endpoint_groups.get((service.meta.namespace, service.meta.name), ()):
        number = dict(group.ports).get(port.name, 0)
        for address in group.addresses if number else ():
            workload = mesh.workload_at.get(address)
            if workload is None:
                endpoint = Endpoint(address=address, port=number, namespace=service.meta.namespace)
            else:
                endpoint = _pod_endpoint(mesh, workload, number)
            if set(subset) <= set(endpoint.labels):
                found[endpoint] = None
    return tuple(found)


def _registered(mesh: Mesh, service: MeshService, port: Port, subset: Labels) -> EndpointSource:
    wanted = dict(service.selector)
    if any(wanted.get(key, value) != value for key, value in subset):
        return StaticEndpoints(())
    labels = tuple(sorted((wanted | dict(subset)).items()))
    static = [
        _pod_endpoint(mesh, workload, number)
        for workload in mesh.selected(service.namespace, labels)
        if workload.address and (number := target_port(port, workload))
    ]
    static += [
        _outside_endpoint(mesh, entry, number)
        for entry in mesh.selected_entries(service.namespace, labels)
        if entry.has_address and (number := dict(entry.endpoint.ports).get(port.name, port.target))
    ]
    if isinstance(service.origin, Service):
        known = {(endpoint.address, endpoint.port) for endpoint in static}
        listed = _listed(mesh, service.origin, port, subset)
        static += [endpoint for endpoint in listed if (endpoint.address, endpoint.port) not in known]
    return RegisteredEndpoints(
        namespace=service.namespace, labels=labels, port=port.target, port_name=port.target_name, static=tuple(static)
    )


def target_port(port: Port, workload: Workload) -> int:
    """The number of a service's port in one workload, or 0 where the workload has no container port of that name."""
    return port.target or dict(workload.ports).get(port.target_name, 0)


def _pod_endpoint(mesh: Mesh, workload: Workload, port: int) -> Endpoint:
    return Endpoint(
        address=workload.address,
        port=port,
        mesh=True,
        identity=mesh.identity(workload.meta.namespace, workload.service_account),
        labels=workload.labels,
        locality=labelled_locality(dict(workload.labels)),
        workload=workload.meta.name,
        namespace=workload.meta.namespace,
    )


def _outside_endpoint(mesh: Mesh, entry: WorkloadEntry, port: int) -> Endpoint:
    endpoint = entry.endpoint
    account = endpoint.service_account
    return Endpoint(
        address=endpoint.address,
        port=port,
        weight=endpoint.weight,
        mesh=TLS_MODE_LABEL in endpoint.labels,
        identity=mesh.identity(entry.meta.namespace, account) if account else "",
        labels=endpoint.labels,
        locality=endpoint.locality,
        workload=entry.meta.name,
        namespace=entry.meta.namespace,
    )


def _entry_endpoints(host: str, entry: ServiceEntry, port: Port, subset: Labels) -> EndpointSource:
    chosen = [endpoint for endpoint in entry.endpoints if set(subset) <= set(endpoint.labels)]
    match entry.resolution:
        case "STATIC":
            return StaticEndpoints(tuple(_entry_endpoint(entry, endpoint, port) for endpoint in chosen))
        case "DNS" | "DNS_ROUND_ROBIN":
            names = [(item.address, dict(item.ports).get(port.name, port.target)) for item in chosen]
            if not entry.endpoints and not host.startswith("*"):
                names = [(host, port.target)]
            return DnsEndpoints(tuple(names), logical=entry.resolution == "DNS_ROUND_ROBIN")
        case _:
            return OriginalDestination()


def _entry_endpoint(entry: ServiceEntry, endpoint: EntryEndpoint, port: Port) -> Endpoint:
    return Endpoint(
        address=endpoint.address,
        port=dict(endpoint.ports).get(port.name, port.target),
        weight=endpoint.weight,
        mesh=TLS_MODE_LABEL in endpoint.labels,
        labels=endpoint.labels,
        locality=endpoint.locality,
        namespace=entry.meta.namespace,
    )


def upstream_tls(
    mesh: Mesh, namespace: str, service: MeshService, port: Port, subset: Subset | None, tls: ClientTls | None
) -> UpstreamTls | None:
    """TLS towards a cluster: what the rule says, else auto mTLS towards services of the mesh (semantics: Istio's auto mTLS)."""
    default_name = f"outbound_.{port.number}_.{subset.name if subset else ''}_.{service.host}"
    if tls is None:
        if (
            not mesh.config.auto_mtls
            or not _in_mesh(service)
            or _all_disabled(mesh, service, port)
            or _is_gateways_own(mesh, service, port)
        ):
            return None
        return _mesh_upstream(mesh, identities(mesh, service), default_name, auto=True)
    match tls.mode:
        case "ISTIO_MUTUAL":
            return _mesh_upstream(mesh, tls.names or identities(mesh, service), tls.server_name or default_name)
        case "SIMPLE" | "MUTUAL":
            slot = f"{namespace}/{tls.credential.value}" if tls.credential else tls.files.slot
            return TlsUpstream(
                server_name=tls.server_name or service.host,
                names=tls.names or _entry_names(service),
                ca=slot if tls.credential or tls.files.ca else "",
                credential=slot if tls.mode == "MUTUAL" else "",
                skip_verify=tls.skip_verify,
                ciphers=mesh.config.tls_defaults.ciphers,
                curves=mesh.config.tls_defaults.curves,
            )
        case _:
            return None


def _mesh_upstream(mesh: Mesh, names: tuple[str, ...], server_name: str, *, auto: bool = False) -> MeshUpstream:
    asked = mesh_tls(mesh.config)
    return MeshUpstream(names, server_name, auto, asked.min_version, asked.ciphers)


def _backend_tls(mesh: Mesh, policy: BackendTls) -> TlsUpstream | None:
    """TLS as a BackendTLSPolicy has it; None where it names no authority that could be used."""
    unaccepted, _ = backend_authorities(mesh, policy)
    if unaccepted is not None:
        return None
    defaults = mesh.config.tls_defaults
    return TlsUpstream(
        policy.hostname,
        policy.names,
        authority_slot(mesh, policy),
        ciphers=defaults.ciphers,
        curves=defaults.curves,
    )


def identities(mesh: Mesh, service: MeshService) -> tuple[str, ...]:
    """The SPIFFE IDs that may serve a host: of every workload in Git that it selects, and what its ServiceEntry names.

    A workload's certificate may still be of a trust domain alias while the mesh moves from one domain to another.
    """
    accounts = {
        (workload.meta.namespace, workload.service_account)
        for workload in mesh.selected(service.namespace, service.selector)
    }
    accounts |= {
        (entry.meta.namespace, entry.endpoint.service_account)
        for entry in mesh.selected_entries(service.namespace, service.selector)
        if entry.endpoint.service_account
    }
    found = {
        f"spiffe://{domain}/ns/{namespace}/sa/{account}"
        for namespace, account in accounts
        for domain in (mesh.config.trust_domain, *mesh.config.trust_domain_aliases)
    }
    if isinstance(service.origin, ServiceEntry):
        found.update(service.origin.subject_alt_names)
        named = (endpoint.service_account for endpoint in service.origin.endpoints)
        found.update(mesh.identity(service.namespace, account) for account in named if account)
    return tuple(sorted(found))


def _entry_names(service: MeshService) -> tuple[str, ...]:
    return service.origin.subject_alt_names if isinstance(service.origin, ServiceEntry) else ()


def _in_mesh(service: MeshService) -> bool:
    origin = service.origin
    return origin.in_mesh if isinstance(origin, ServiceEntry) else not origin.external_name


def port_modes(mesh: Mesh, service: MeshService, port: Port) -> set[str]:
    """What the known workloads of a service ask of clients on a port: STRICT, PERMISSIVE, DISABLE."""
    return {
        effective_mode(mesh, workload.meta.namespace, workload.labels, target_port(port, workload))
        for workload in mesh.selected(service.namespace, service.selector)
    }


def _all_disabled(mesh: Mesh, service: MeshService, port: Port) -> bool:
    """Whether every known workload of a service refuses mesh TLS on a port: clients then speak plain text by themselves."""
    return port_modes(mesh, service, port) == {"DISABLE"}


def _is_gateways_own(mesh: Mesh, service: MeshService, port: Port) -> bool:
    """Whether a port is a gateway's own and not HTTP: it takes the bytes, or the ClientHello, as they are. HTTP ports take mesh TLS too."""
    if is_http(port.protocol):
        return False
    selected = mesh.selected(service.namespace, service.selector)
    return any((workload.meta.namespace, workload.meta.name) in mesh.gateway_workloads for workload in selected)
