"""From clusters to Envoy's clusters and their endpoints. A new field of Cluster, PoolLimits or an endpoint source goes into its function here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

import msgspec
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, proxy_protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as forward_proxy_pb2
from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import struct_pb2

from policies.balancing import KeepAlive
from policies.traffic import PER_MILLION
from runtime.envoy.balancing import balance, failures, hash_policy, localities, member
from runtime.envoy.headers import http1_options
from runtime.envoy.messages import Message, config_source, extension, milliseconds, packed
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.tls import upstream
from runtime.interception import inbound_sources
from snapshot.section import (
    MAX_SESSIONS,
    ApplicationEndpoint,
    Cluster,
    Deadlines,
    DnsEndpoints,
    Endpoint,
    MeshUpstream,
    OriginalDestination,
    PoolLimits,
    Proxy,
    RegisteredEndpoints,
    StaticEndpoints,
)

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NO_LIMIT = 0xFFFFFFFF
NAMED = "|named"
"""Ends the name of the variant of a cluster that goes where a request names, beside the one that goes where its connection was going."""

_MATCH = "envoy.transport_socket_match"
_MESH = {"tlsMode": "istio"}


def variants(section: Cluster, place: Placement) -> Iterator[Cluster]:
    """A cluster as often as Envoy needs it: what goes where it was going finds that in the request, in its connection, or in either."""
    if place.intercepts or section.endpoints != OriginalDestination(inbound=True):
        yield section
    if place.intercepts and section.endpoints == OriginalDestination():
        yield msgspec.structs.replace(section, name=f"{section.name}{NAMED}")


def cluster(section: Cluster, proxy: Proxy, place: Placement) -> Message:
    """One cluster; raises TranslationError."""
    made = cluster_pb2.Cluster(
        name=section.name,
        connect_timeout=milliseconds(section.limits.connect_timeout_ms),
        circuit_breakers=_breakers(_bounded(section, place)),
        per_connection_buffer_limit_bytes={"value": proxy.deadlines.buffer_bytes},
        typed_extension_protocol_options={HTTP_OPTIONS: packed(_http(section, proxy))},
        ignore_health_on_host_removal=True,
        **_source(section, place),
    )
    if isinstance(section.endpoints, DnsEndpoints):
        made.dns_refresh_rate.CopyFrom(milliseconds(proxy.deadlines.dns_refresh_ms))
    if not isinstance(section.endpoints, OriginalDestination):
        balance(made, section, place)
    if section.limits.keep_alive is not None:
        made.upstream_connection_options.tcp_keepalive.CopyFrom(_keep_alive(section.limits.keep_alive))
    _transport(made, section, proxy, place)
    return made


def _source(section: Cluster, place: Placement) -> dict[str, object]:
    """The type of a cluster and, where it does not discover its endpoints, those."""
    match section.endpoints:
        case OriginalDestination(inbound):
            by_request = not place.intercepts or section.name.endswith(NAMED)
            return _forward_proxy() if by_request else _where_it_was_going(from_here=inbound and not place.transparent)
        case DnsEndpoints(names, logical):
            found = [Endpoint(address=host, port=port) for host, port in names]
            return {
                "type": cluster_pb2.Cluster.LOGICAL_DNS
                if logical and len(found) == 1
                else cluster_pb2.Cluster.STRICT_DNS,
                "load_assignment": assignment(section.name, found),
                "respect_dns_ttl": True,
                "dns_lookup_family": cluster_pb2.Cluster.ALL,
            }
        case RegisteredEndpoints() if place.delivery is Delivery.DISCOVERED:
            eds = cluster_pb2.Cluster.EdsClusterConfig(eds_config=config_source())
            return {"type": cluster_pb2.Cluster.EDS, "eds_cluster_config": eds}
        case StaticEndpoints() | ApplicationEndpoint() | RegisteredEndpoints():
            return {"type": cluster_pb2.Cluster.STATIC, "load_assignment": load_assignment(section, place)}
        case _:
            assert_never(section.endpoints)


def load_assignment(section: Cluster, place: Placement) -> Message:
    """The endpoints of a cluster now."""
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=section.name, endpoints=localities(section, place))


def assignment(name: str, endpoints: list[Endpoint]) -> Message:
    """Endpoints as Envoy takes them, all equally near."""
    members = [member(endpoint) for endpoint in endpoints]
    group = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=members)
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[group] if members else [])


def dns_cache() -> Message:
    """The one cache of names that requests themselves bring; the HTTP filter and the cluster must mean the same."""
    return dns_cache_pb2.DnsCacheConfig(name="weft", dns_lookup_family=cluster_pb2.Cluster.ALL)


def _forward_proxy() -> dict[str, object]:
    # Which names an upstream must bear is the cluster's own to say, in its TLS settings.
    config = forward_proxy_pb2.ClusterConfig(dns_cache_config=dns_cache(), allow_insecure_cluster_options=True)
    kind = extension(cluster_pb2.Cluster.CustomClusterType, "envoy.clusters.dynamic_forward_proxy", config)
    return {"cluster_type": kind, "lb_policy": cluster_pb2.Cluster.CLUSTER_PROVIDED}


def _where_it_was_going(*, from_here: bool) -> dict[str, object]:
    kind = cluster_pb2.Cluster
    fields: dict[str, object] = {"type": kind.ORIGINAL_DST, "lb_policy": kind.CLUSTER_PROVIDED}
    if from_here:
        # The application beside us is called from an address that no rule redirects.
        first, *others = (address_pb2.SocketAddress(address=one, port_value=0) for one in inbound_sources())
        # Where there is no such address of the other family, Envoy must be told that any will do.
        others = others or [address_pb2.SocketAddress(address="::", port_value=0)]
        extra = [address_pb2.ExtraSourceAddress(address=one) for one in others]
        fields["upstream_bind_config"] = address_pb2.BindConfig(source_address=first, extra_source_addresses=extra)
    return fields


def _bounded(section: Cluster, place: Placement) -> PoolLimits:
    """A cluster's limits. Envoy's only bound of UDP sessions, whose clients may not even exist, is that of connections."""
    if section.protocol != "udp" or section.limits.max_connections:
        return section.limits
    return msgspec.structs.replace(section.limits, max_connections=MAX_SESSIONS * place.bootstrap.workers)


def _breakers(limits: PoolLimits) -> Message:
    threshold = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections={"value": limits.max_connections or NO_LIMIT},
        max_pending_requests={"value": limits.max_pending_requests or NO_LIMIT},
        max_requests={"value": limits.max_requests or NO_LIMIT},
        max_retries={"value": limits.max_retries or NO_LIMIT},
    )
    budget = limits.retry_budget
    if budget is not None:
        threshold.retry_budget.budget_percent.value = budget.per_million * 100 / PER_MILLION
        threshold.retry_budget.min_retry_concurrency.value = budget.minimum
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold])


def _keep_alive(settings: KeepAlive) -> Message:
    made = address_pb2.TcpKeepalive()
    for part, value in (
        (made.keepalive_probes, settings.probes),
        (made.keepalive_time, settings.time_s),
        (made.keepalive_interval, settings.interval_s),
    ):
        if value:
            part.value = value
    return made


def _http(section: Cluster, proxy: Proxy) -> Message:
    """How HTTP is spoken to the endpoints."""
    limits = section.limits
    common: dict[str, object] = {}
    if limits.idle_timeout_ms:
        common["idle_timeout"] = milliseconds(limits.idle_timeout_ms)
    if limits.max_requests_per_connection:
        common["max_requests_per_connection"] = {"value": limits.max_requests_per_connection}
    if limits.max_duration_ms:
        common["max_connection_duration"] = milliseconds(limits.max_duration_ms)
    http2 = http2_options(proxy.deadlines)
    if limits.max_streams:
        http2.max_concurrent_streams.value = limits.max_streams
    if limits.ping_ms:
        http2.connection_keepalive.interval.CopyFrom(milliseconds(limits.ping_ms))
        http2.connection_keepalive.timeout.CopyFrom(milliseconds(limits.ping_timeout_ms or limits.ping_ms))
    kind = http_protocol_options_pb2.HttpProtocolOptions
    options = kind(common_http_protocol_options=protocol_pb2.HttpProtocolOptions(**common))
    if section.hashing is not None:
        options.hash_policy.append(hash_policy(section.hashing))
    if section.outlier is not None and section.outlier.statuses:
        options.outlier_detection.error_matcher.CopyFrom(failures(section.outlier.statuses))
    match section.protocol:
        case "same":
            options.use_downstream_protocol_config.http_protocol_options.CopyFrom(http1_options(proxy.headers))
            options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(http2)
        case "http2":
            options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
        case _:
            options.explicit_http_config.http_protocol_options.CopyFrom(http1_options(proxy.headers))
    return options


def http2_options(deadlines: Deadlines) -> Any:
    """Streams and windows of HTTP/2, the same on both sides."""
    return protocol_pb2.Http2ProtocolOptions(
        max_concurrent_streams={"value": deadlines.max_streams},
        initial_stream_window_size={"value": max(deadlines.stream_window_bytes, 65_535)},
        initial_connection_window_size={"value": max(deadlines.connection_window_bytes, 65_535)},
        allow_connect=True,
    )


def _naming_client(section: Cluster, socket: Message) -> Message:
    """A transport socket whose connections begin with the PROXY protocol, where the cluster asks for it."""
    if not section.proxy_protocol:
        return socket
    version = proxy_protocol_pb2.ProxyProtocolConfig.Version.Value(section.proxy_protocol.upper())
    config = proxy_protocol_pb2.ProxyProtocolConfig(version=version)
    wrapped = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport(config=config, transport_socket=socket)
    return extension(base_pb2.TransportSocket, "envoy.transport_sockets.upstream_proxy_protocol", wrapped)


def _transport(made: Message, section: Cluster, proxy: Proxy, place: Placement) -> None:
    """TLS towards all endpoints, or towards those that speak it where the cluster leaves that to each."""
    tls = section.tls
    plain = extension(base_pb2.TransportSocket, "envoy.transport_sockets.raw_buffer", raw_buffer_pb2.RawBuffer())
    plain = _naming_client(section, plain)
    if tls is None:
        if section.proxy_protocol:
            made.transport_socket.CopyFrom(plain)
        return
    socket = _naming_client(section, upstream(tls, section.protocol, proxy, place.delivery))
    if not (isinstance(tls, MeshUpstream) and tls.auto):
        made.transport_socket.CopyFrom(socket)
        return
    criteria = struct_pb2.Struct()
    criteria.update(_MESH)
    kind = cluster_pb2.Cluster.TransportSocketMatch
    made.transport_socket_matches.append(kind(name="mesh", match=criteria, transport_socket=socket))
    made.transport_socket_matches.append(kind(name="plain", transport_socket=plain))
