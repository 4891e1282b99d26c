"""Which fields of a slice the translation reads. A slice that uses any other is refused, so that nothing is dropped unsaid.

Whoever adds a field to a section or a policy translates it and names it here, or leaves it out on purpose: then slices that set it do not
run on Envoy, and say why. A field that holds its default asks nothing and is never refused.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from policies.authorization import AuthorizationPolicy, Clause, Rule
from policies.balancing import KeepAlive, LocalityLoad, OutlierDetection, RetryBudget, Utilization, Warmup
from policies.limits import LimitKey, RateLimit
from policies.match import (
    ClaimMatch,
    Exact,
    HeaderMatch,
    PathExact,
    PathPrefix,
    PathRegex,
    PathSegments,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RouteMatch,
    Suffix,
)
from policies.probe import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe
from policies.proxy_headers import ProxyHeaders
from policies.source import SourceRef
from policies.tokens import ClaimHeader, KeySource, TokenHeader, TokenRule
from policies.traffic import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    Forward,
    HeaderEdits,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    Tunnel,
)
from runtime.envoy.failure import TranslationError
from snapshot.section import (
    AccessLog,
    AddressPort,
    ApplicationEndpoint,
    Cluster,
    ConsistentHash,
    CredentialSlot,
    Deadlines,
    DnsEndpoints,
    Endpoint,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    MeshUpstream,
    Name,
    NameTable,
    OriginalDestination,
    PolicySet,
    PoolLimits,
    Proxy,
    ProxyPort,
    RegisteredEndpoints,
    Route,
    RouteBlock,
    RouteTable,
    Scrape,
    ServerTls,
    ServiceName,
    ServicePort,
    StaticEndpoints,
    TcpChain,
    TlsUpstream,
    TokenSet,
    UdpChain,
    UndeclaredPort,
    UnixSocket,
    VirtualHost,
    Workload,
    WorkloadPort,
)

KNOWN: dict[type[msgspec.Struct], str] = {
    WorkloadPort: "port",
    GatewayPort: "port datagrams address",
    ServicePort: "host port",
    ProxyPort: "",
    UndeclaredPort: "port",
    AddressPort: "address port",
    UnixSocket: "path",
    MeshTls: "min_version ciphers",
    ServerTls: "credentials client client_ca min_version max_version ciphers names hashes keys curves",
    HttpChain: "routes policies edge https_redirect proxy host tokens",
    TcpChain: "destinations source policies",
    UdpChain: "destinations source policies idle_ms max_sessions",
    FilterChain: "name source network server_names tls passthrough from_mesh",
    Listener: "name source direction bind protocol chains proxy_protocol addresses",
    Route: "source match action name request_headers response_headers fault timeout_ms retry cors limits",
    VirtualHost: "table name domains source blocks request_headers response_headers",
    RouteBlock: "table virtual_host ordinal routes",
    RouteTable: "name source port unmatched group",
    Endpoint: "address port weight mesh identity labels locality workload namespace others",
    StaticEndpoints: "endpoints",
    DnsEndpoints: "names logical",
    RegisteredEndpoints: "namespace labels port port_name static",
    ApplicationEndpoint: "port exposed path loopback",
    OriginalDestination: "inbound",
    MeshUpstream: "identities server_name auto min_version ciphers",
    TlsUpstream: "server_name names ca credential skip_verify ciphers curves",
    PoolLimits: "max_connections max_pending_requests max_requests max_requests_per_connection connect_timeout_ms "
    "idle_timeout_ms tcp_idle_ms max_retries max_duration_ms max_streams ping_ms ping_timeout_ms keep_alive retry_budget",
    KeepAlive: "probes time_s interval_s",
    RetryBudget: "per_million minimum",
    ServiceName: "host name namespace",
    Cluster: "proxy_protocol name service endpoints sources port subset protocol balance tls limits hashing outlier locality warmup "
    "utilization tunnel holds mesh_only",
    ConsistentHash: "on name path ttl_ms attributes minimum_ring_size table_size",
    OutlierDetection: "consecutive_5xx consecutive_gateway split consecutive_local interval_ms base_ejection_ms max_ejection_percent "
    "min_health_percent statuses",
    LocalityLoad: "distribute failover priority fails_over zone_minimum",
    Utilization: "penalty_percent metrics expiration_ms stabilization_ms update_ms",
    Warmup: "duration_ms minimum_percent aggression_percent",
    # Names are the supervisor's, whichever engine serves.
    NameTable: "name entries",
    Name: "names source addresses cluster alias",
    PolicySet: "name policies",
    AccessLog: "path encoding",
    Deadlines: "head_ms idle_ms stream_idle_ms tls_handshake_ms sniff_ms drain_ms dns_refresh_ms max_head_bytes max_headers max_streams "
    "stream_window_bytes connection_window_bytes buffer_bytes max_connections",
    Workload: "name namespace identity service_account app version canonical_name canonical_revision cluster",
    CredentialSlot: "name names",
    Scrape: "port path",
    Proxy: "workload trust_domain trust_domain_aliases access_log deadlines credentials path_normalization probe scrape headers serves_dns",
    ProxyHeaders: "trusted_hops certificate shows request_ids attempts internal server spelling",
    Probe: "ask initial_delay_ms period_ms timeout_ms successes failures",
    HttpProbe: "port path host https headers",
    TcpProbe: "port host",
    GrpcProbe: "port service",
    ExecProbe: "command",
    HeaderEdits: "remove set add",
    Destination: "cluster weight request_headers response_headers status rewrite redirect",
    Rewrite: "prefix path regex substitution authority",
    Redirect: "status scheme authority host port path prefix port_from_scheme",
    DirectResponse: "status body flag",
    Mirror: "cluster per_million",
    Tunnel: "authority method",
    Forward: "destinations rewrite mirrors",
    Cors: "origins methods headers expose_headers max_age_s credentials forward_unmatched",
    FaultDelay: "delay_ms per_million",
    FaultAbort: "status per_million grpc_status",
    Fault: "delay abort",
    Retry: "attempts on statuses per_try_timeout_ms base_backoff_ms max_backoff_ms same_hosts remote",
    Exact: "value ignore_case",
    Prefix: "value ignore_case",
    Suffix: "value ignore_case",
    Regex: "pattern",
    Present: "",
    PathExact: "value ignore_case",
    PathPrefix: "value ignore_case",
    PathSegments: "value",
    PathRegex: "pattern",
    HeaderMatch: "name match invert",
    QueryMatch: "name match",
    RouteMatch: "path method scheme authority headers query claims",
    ClaimMatch: "path match invert",
    Clause: "attribute values not_values",
    LimitKey: "on name",
    RateLimit: "source requests interval_ms burst match identity by status headers max_keys",
    Rule: "source sources operations when",
    AuthorizationPolicy: "source action rules",
    TokenSet: "name rules",
    TokenRule: "source issuer keys audiences headers parameters cookies forward payload_header claim_headers listed required",
    KeySource: "jwks uri issuer timeout_ms",
    TokenHeader: "name prefix",
    ClaimHeader: "header claim",
}
"""Type -> its fields that are translated, or that need no translation (names of resources, labels of metrics)."""

_known = {kind: frozenset(names.split()) for kind, names in KNOWN.items()}


def require_known(value: Any, source: SourceRef | None = None) -> None:
    """Raises TranslationError where a part of a section says something that the translation does not know."""
    if isinstance(value, tuple):
        for one in value:
            require_known(one, source)
        return
    if not isinstance(value, msgspec.Struct) or isinstance(value, SourceRef):
        return
    source = getattr(value, "source", None) or source
    kind = type(value)
    known = _known.get(kind)
    if known is None:
        raise TranslationError(f"{kind.__name__} is not translated for Envoy yet", source)
    for name, default in _defaults(kind).items():
        held = getattr(value, name)
        if name in known:
            require_known(held, source)
        elif held != default:
            raise TranslationError(f"{kind.__name__}.{name} is not translated for Envoy yet", source)


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, object]:
    """The fields of a type with their defaults; looking them up costs more than all else here."""
    return {field.name: field.default for field in msgspec.structs.fields(kind)}
