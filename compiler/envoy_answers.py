"""What says, without Envoy's configuration, what patches of an EnvoyFilter are written for: a table by filter and by field.

Names are Envoy's (extensions by the last part of their names, fields in snake case); the answers are fields of Istio, of the Gateway API or of
weft, or the honest word that there is none. Nothing here decides whether an answer is carried: ``compiler.carried_leaves`` says that.
"""

from __future__ import annotations

from typing import NamedTuple


class Instead(NamedTuple):
    """What to write in place of a patch: ``words`` name it, ``kind`` and ``path`` are its place in the schemas ("" where it is none of them).

    Without ``words`` nothing does it, and ``why`` may say what holds instead.
    """

    words: str = ""
    kind: str = ""
    path: str = ""
    why: str = ""


def nothing(why: str = "") -> Instead:
    """There is no such resource."""
    return Instead(why=why)


_EXTERNAL = Instead(
    "an AuthorizationPolicy with action CUSTOM and the MeshConfig's `extensionProviders`",
    "AuthorizationPolicy",
    "spec.provider",
)
_POLICY = Instead("an AuthorizationPolicy", "AuthorizationPolicy")
_CODE = Instead("a WasmPlugin", "WasmPlugin", "spec")
_CORS = Instead("`corsPolicy` of a VirtualService or the CORS filter of an HTTPRoute", "VirtualService")
_FAULT = Instead("`fault` of a VirtualService", "VirtualService")
_HEADERS = Instead("`headers` of a VirtualService, or the header filters of an HTTPRoute", "VirtualService")
_LOGS = Instead(
    "`accessLogging` of a Telemetry, or the MeshConfig's `accessLogFile`", "MeshConfig", "spec.accessLogFile"
)
_TRACES = Instead("`tracing` of a Telemetry", "Telemetry", "spec")
_METRICS = Instead("`metrics` of a Telemetry", "Telemetry", "spec")
_TIMEOUT = Instead("`timeout` of a VirtualService, or `timeouts` of an HTTPRoute", "VirtualService")
_RETRIES = Instead("`retries` of a VirtualService", "VirtualService")
_LIMIT = Instead("a RateLimit of weft/v1, which limits in each proxy", "RateLimit")
_TLS = Instead("`tls` of a Gateway's server (versions, cipher suites, certificates)", "Gateway")
_TOPOLOGY = "spec.defaultConfig"
_HOPS = Instead(
    "`defaultConfig.gatewayTopology.numTrustedProxies` of the MeshConfig", "MeshConfig", f"{_TOPOLOGY}.gatewayTopology"
)
_CERTIFICATE = Instead(
    "`defaultConfig.gatewayTopology.forwardClientCertDetails` of the MeshConfig", "MeshConfig", _TOPOLOGY
)
_PROXY_PROTOCOL = Instead("`defaultConfig.gatewayTopology.proxyProtocol` of the MeshConfig", "MeshConfig", _TOPOLOGY)
_PATHS = Instead("`pathNormalization` of the MeshConfig", "MeshConfig", "spec.pathNormalization")
_PROXY_HEADERS = Instead("`defaultConfig.proxyHeaders` of the MeshConfig", "MeshConfig", _TOPOLOGY)
_SEEN = nothing("weft finds the protocol by itself: by the port's name, or else by looking")
_BOUNDED = nothing("weft's own bounds hold (time-outs, sizes and numbers that a peer could exhaust)")


def _rule(field: str, path: str = "") -> Instead:
    leaf = path or field
    return Instead(f"`trafficPolicy.{field}` of a DestinationRule", "DestinationRule", f"spec.trafficPolicy.{leaf}")


_POOL_IDLE = _rule("connectionPool.http.idleTimeout")

FILTERS: tuple[tuple[str, Instead], ...] = (
    ("ext_authz", _EXTERNAL),
    ("ext_proc", nothing("a program can only decide, as an AuthorizationPolicy's provider, not rewrite")),
    ("jwt_authn", Instead("a RequestAuthentication", "RequestAuthentication", "spec")),
    ("oauth2", nothing("a login belongs into a service in front, behind an AuthorizationPolicy with action CUSTOM")),
    ("rbac", _POLICY),
    ("lua", Instead("a TrafficExtension with `lua`", "TrafficExtension", "spec")),
    ("wasm", _CODE),
    ("golang", _CODE),
    ("dynamic_modules", _CODE),
    ("cors", _CORS),
    ("csrf", nothing()),
    ("fault", _FAULT),
    ("buffer", nothing("a body's size is limited in the application")),
    ("file_system_buffer", nothing()),
    ("decompressor", nothing("bodies are compressed and decompressed by the applications")),
    ("compressor", nothing("bodies are compressed and decompressed by the applications")),
    ("gzip", nothing("bodies are compressed and decompressed by the applications")),
    ("cache", nothing()),
    ("local_ratelimit", _LIMIT),
    (
        "ratelimit",
        nothing("a RateLimit of weft/v1 limits in each proxy; limits over all proxies need a service in front"),
    ),
    ("rate_limit_quota", nothing("a RateLimit of weft/v1 limits in each proxy")),
    ("connection_limit", _rule("connectionPool.tcp.maxConnections")),
    ("bandwidth_limit", nothing()),
    ("adaptive_concurrency", _rule("connectionPool.http.http2MaxRequests")),
    ("admission_control", _rule("outlierDetection")),
    ("stateful_session", _rule("loadBalancer.consistentHash.httpCookie")),
    ("header_mutation", _HEADERS),
    ("header_to_metadata", nothing()),
    ("json_to_metadata", nothing()),
    ("set_metadata", nothing()),
    ("grpc_json_transcoder", nothing()),
    ("grpc_web", Instead("`appProtocol: grpc-web` of the Service's port", "Service")),
    ("grpc_stats", _METRICS),
    ("grpc_http1_reverse_bridge", nothing()),
    ("istio_stats", _METRICS),
    ("stats", _METRICS),
    ("health_check", nothing("a proxy answers for its own readiness on port 15021")),
    ("tap", nothing("`weft proxy-config` and the access log show what passes")),
    ("alpn", nothing("the mesh's protocols are agreed on by itself")),
    ("metadata_exchange", nothing("who calls is known by the certificate")),
    ("peer_metadata", nothing("who calls is known by the certificate")),
    (
        "dynamic_forward_proxy",
        Instead("`outboundTrafficPolicy.mode: ALLOW_ANY` of a Sidecar or the MeshConfig", "Sidecar"),
    ),
    ("proxy_protocol", _PROXY_PROTOCOL),
    ("tls_inspector", _SEEN),
    ("http_inspector", _SEEN),
    ("original_dst", nothing("applications reach the proxy by its address")),
    ("original_src", nothing()),
    (
        "sni_dynamic_forward_proxy",
        Instead("`tls` routes of a VirtualService on a PASSTHROUGH server", "VirtualService"),
    ),
    ("sni_cluster", Instead("`tls` routes of a VirtualService on a PASSTHROUGH server", "VirtualService")),
    ("mongo_proxy", nothing("such bytes pass as TCP, unread")),
    ("mysql_proxy", nothing("such bytes pass as TCP, unread")),
    ("redis_proxy", nothing("such bytes pass as TCP, unread")),
    ("kafka", nothing("such bytes pass as TCP, unread")),
    ("thrift_proxy", nothing("such bytes pass as TCP, unread")),
    ("dubbo_proxy", nothing("such bytes pass as TCP, unread")),
    ("postgres_proxy", nothing("such bytes pass as TCP, unread")),
    ("zookeeper_proxy", nothing("such bytes pass as TCP, unread")),
)
"""By the last part of a filter's name, or of its configuration's type: the first word that is in it."""

_HTTP_MANAGER: dict[str, Instead] = {
    "access_log": _LOGS,
    "tracing": _TRACES,
    "use_remote_address": _HOPS,
    "xff_num_trusted_hops": _HOPS,
    "original_ip_detection_extensions": _HOPS,
    "skip_xff_append": _HOPS,
    "forward_client_cert_details": _CERTIFICATE,
    "set_current_client_cert_details": _CERTIFICATE,
    "normalize_path": _PATHS,
    "merge_slashes": _PATHS,
    "path_with_escaped_slashes_action": _PATHS,
    "server_name": _PROXY_HEADERS,
    "server_header_transformation": _PROXY_HEADERS,
    "generate_request_id": _PROXY_HEADERS,
    "preserve_external_request_id": _PROXY_HEADERS,
    "always_set_request_id_in_response": _PROXY_HEADERS,
    "http_protocol_options": Instead(
        "`defaultConfig.proxyHeaders.preserveHttp1HeaderCase` of the MeshConfig, where it is about the case of names",
        "MeshConfig",
        _TOPOLOGY,
    ),
    "http2_protocol_options": _BOUNDED,
    "common_http_protocol_options": _BOUNDED,
    "stream_idle_timeout": _BOUNDED,
    "request_timeout": _TIMEOUT,
    "request_headers_timeout": _BOUNDED,
    "drain_timeout": _BOUNDED,
    "delayed_close_timeout": _BOUNDED,
    "max_request_headers_kb": _BOUNDED,
    "upgrade_configs": nothing("WebSocket passes everywhere as it is"),
    "local_reply_config": nothing("replies of the proxy's own are Envoy's, in status, body and flag"),
    "route_config": Instead("a VirtualService", "VirtualService"),
    "strip_matching_host_port": nothing("hosts are compared without their port already"),
    "strip_any_host_port": nothing("hosts are compared without their port already"),
    "http_filters": _CODE,
}
_TCP_PROXY: dict[str, Instead] = {
    "access_log": _LOGS,
    "idle_timeout": _rule("connectionPool.tcp.idleTimeout"),
    "max_connect_attempts": nothing(),
    "max_downstream_connection_duration": _rule("connectionPool.tcp.maxConnectionDuration"),
    "tunneling_config": _rule("tunnel"),
    "weighted_clusters": Instead("`tcp` routes of a VirtualService", "VirtualService"),
    "cluster": Instead("`tcp` routes of a VirtualService", "VirtualService"),
    "hash_policy": _rule("loadBalancer.consistentHash.useSourceIp"),
}
_ROUTE: dict[str, Instead] = {
    "route.timeout": _TIMEOUT,
    "route.idle_timeout": _TIMEOUT,
    "route.max_stream_duration": _TIMEOUT,
    "route.max_grpc_timeout": _TIMEOUT,
    "route.retry_policy": _RETRIES,
    "route.rate_limits": _LIMIT,
    "route.hash_policy": _rule("loadBalancer.consistentHash"),
    "route.cors": _CORS,
    "route.request_mirror_policies": Instead("`mirrors` of a VirtualService", "VirtualService"),
    "route.prefix_rewrite": Instead("`rewrite` of a VirtualService", "VirtualService"),
    "route.regex_rewrite": Instead("`rewrite.uriRegexRewrite` of a VirtualService", "VirtualService"),
    "route.host_rewrite_literal": Instead("`rewrite.authority` of a VirtualService", "VirtualService"),
    "route.auto_host_rewrite": nothing("`rewrite.authority` of a VirtualService sets a name that is known"),
    "route.upgrade_configs": nothing("WebSocket passes everywhere as it is"),
    "route.weighted_clusters": Instead("`route` of a VirtualService", "VirtualService"),
    "route.cluster": Instead("`route` of a VirtualService", "VirtualService"),
    "redirect": Instead("`redirect` of a VirtualService", "VirtualService"),
    "direct_response": Instead("`directResponse` of a VirtualService", "VirtualService"),
    "decorator": _TRACES,
    "tracing": _TRACES,
    "match": Instead("`match` of a VirtualService", "VirtualService"),
    "name": Instead("`name` of a VirtualService's rule", "VirtualService"),
}
_EDITS: dict[str, Instead] = dict.fromkeys(
    (
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
    ),
    _HEADERS,
)
_VIRTUAL_HOST: dict[str, Instead] = {
    "domains": Instead("`hosts` of a VirtualService", "VirtualService"),
    "routes": Instead("`http` of a VirtualService", "VirtualService"),
    "rate_limits": _LIMIT,
    "retry_policy": _RETRIES,
    "cors": _CORS,
    "hedge_policy": nothing(),
    "require_tls": Instead("`tls.httpsRedirect` of a Gateway's server", "Gateway"),
    "include_request_attempt_count": _PROXY_HEADERS,
    "per_request_buffer_limit_bytes": _BOUNDED,
}
_CLUSTER: dict[str, Instead] = {
    "circuit_breakers": _rule("connectionPool"),
    "outlier_detection": _rule("outlierDetection"),
    "connect_timeout": _rule("connectionPool.tcp.connectTimeout"),
    "lb_policy": _rule("loadBalancer"),
    "load_balancing_policy": _rule("loadBalancer"),
    "ring_hash_lb_config": _rule("loadBalancer.consistentHash"),
    "maglev_lb_config": _rule("loadBalancer.consistentHash.maglev"),
    "least_request_lb_config": _rule("loadBalancer.simple"),
    "round_robin_lb_config": _rule("loadBalancer.warmup"),
    "common_lb_config": _rule("outlierDetection"),
    "lb_subset_config": Instead("`subsets` of a DestinationRule", "DestinationRule"),
    "transport_socket": _rule("tls"),
    "transport_socket_matches": _rule("tls"),
    "upstream_connection_options": _rule("connectionPool.tcp.tcpKeepalive"),
    "common_http_protocol_options": _POOL_IDLE,
    "http2_protocol_options": _rule("connectionPool.http.h2UpgradePolicy"),
    "http_protocol_options": _PROXY_HEADERS,
    "protocol_selection": _rule("connectionPool.http.useClientProtocol"),
    "typed_extension_protocol_options": Instead(
        "`trafficPolicy.connectionPool.http` of a DestinationRule (protocol, streams, idle time-out)", "DestinationRule"
    ),
    "max_requests_per_connection": _rule("connectionPool.http.maxRequestsPerConnection"),
    "health_checks": nothing("unhealthy endpoints leave by `outlierDetection`, or deregister"),
    "load_assignment": Instead("`endpoints` of a ServiceEntry", "ServiceEntry"),
    "type": Instead("`resolution` of a ServiceEntry", "ServiceEntry"),
    "dns_refresh_rate": Instead("`dnsRefreshRate` of the MeshConfig", "MeshConfig", "spec.dnsRefreshRate"),
    "respect_dns_ttl": nothing("the resolver's answer is asked for again as it ages"),
    "dns_lookup_family": nothing("both families are tried"),
    "dns_resolvers": nothing("the machine's resolver answers"),
    "per_connection_buffer_limit_bytes": _BOUNDED,
    "track_cluster_stats": _METRICS,
    "alt_stat_name": _METRICS,
    "filters": _CODE,
}
_LISTENER: dict[str, Instead] = {
    "access_log": _LOGS,
    "address": Instead("`servers` of a Gateway, or `ingress` and `egress` of a Sidecar", "Sidecar"),
    "bind_to_port": Instead("`captureMode` of a Sidecar's listener", "Sidecar"),
    "filter_chains": Instead("`servers` of a Gateway", "Gateway"),
    "listener_filters": _PROXY_PROTOCOL,
    "listener_filters_timeout": _BOUNDED,
    "per_connection_buffer_limit_bytes": _BOUNDED,
    "connection_balance_config": nothing("the kernel shares connections among a proxy's workers"),
    "socket_options": nothing(),
    "tcp_backlog_size": nothing(),
    "enable_reuse_port": nothing("the kernel shares connections among a proxy's workers"),
}
_FILTER_CHAIN: dict[str, Instead] = {
    "transport_socket": _TLS,
    "filter_chain_match": Instead("`hosts` of a Gateway's server", "Gateway"),
    "filters": _CODE,
    "transport_socket_connect_timeout": _BOUNDED,
}
_BOOTSTRAP: dict[str, Instead] = {
    "stats_config": _METRICS,
    "stats_sinks": _METRICS,
    "stats_flush_interval": _METRICS,
    "tracing": _TRACES,
    "admin": Instead("`ports.admin` of the proxy's own bootstrap file"),
    "static_resources": Instead("a ServiceEntry", "ServiceEntry"),
    "overload_manager": _BOUNDED,
    "layered_runtime": nothing(),
    "bootstrap_extensions": nothing(),
}

FIELDS: dict[str, dict[str, Instead]] = {
    "LISTENER": _LISTENER,
    "FILTER_CHAIN": _FILTER_CHAIN,
    "ROUTE_CONFIGURATION": {**_EDITS, "virtual_hosts": Instead("a VirtualService", "VirtualService")},
    "VIRTUAL_HOST": {**_EDITS, **_VIRTUAL_HOST},
    "HTTP_ROUTE": {**_EDITS, **_ROUTE},
    "CLUSTER": _CLUSTER,
    "BOOTSTRAP": _BOOTSTRAP,
}
"""By the part that is patched and a field of the patch's value."""

CONFIGURED: tuple[tuple[str, dict[str, Instead]], ...] = (
    ("http_connection_manager", _HTTP_MANAGER),
    ("tcp_proxy", _TCP_PROXY),
    ("router", {"suppress_envoy_headers": _PROXY_HEADERS, "start_child_span": _TRACES, "dynamic_stats": _METRICS}),
)
"""Filters that every proxy has, and what their fields are about."""

PARTS: dict[str, Instead] = {
    "CLUSTER": Instead("`trafficPolicy` of a DestinationRule", "DestinationRule"),
    "HTTP_ROUTE": Instead("a rule of a VirtualService", "VirtualService"),
    "VIRTUAL_HOST": Instead("a VirtualService", "VirtualService"),
    "ROUTE_CONFIGURATION": Instead("a VirtualService", "VirtualService"),
    "LISTENER": Instead("`servers` of a Gateway, or `ingress` and `egress` of a Sidecar", "Sidecar"),
    "FILTER_CHAIN": Instead("`servers` of a Gateway, or a PeerAuthentication", "PeerAuthentication"),
    "LISTENER_FILTER": _SEEN,
    "NETWORK_FILTER": Instead("a WasmPlugin of type NETWORK, or an AuthorizationPolicy", "WasmPlugin", "spec"),
    "HTTP_FILTER": _CODE,
    "EXTENSION_CONFIG": _CODE,
    "BOOTSTRAP": Instead("the proxy's own bootstrap file"),
}
"""By the part alone, where what a patch holds says no more."""

ADDED: dict[str, Instead] = {
    "CLUSTER": Instead("a ServiceEntry", "ServiceEntry"),
    "LISTENER": Instead("a Gateway, or `ingress` and `egress` of a Sidecar", "Sidecar"),
    "VIRTUAL_HOST": Instead("a VirtualService", "VirtualService"),
    "HTTP_ROUTE": Instead("a rule of a VirtualService", "VirtualService"),
}
"""What makes a new part of its kind."""

REMOVED: dict[str, Instead] = {
    "CLUSTER": Instead("`egress.hosts` of a Sidecar, which says what a proxy knows", "Sidecar"),
    "LISTENER": Instead("`egress` and `ingress` of a Sidecar, which say where a proxy listens", "Sidecar"),
    "VIRTUAL_HOST": Instead("`egress.hosts` of a Sidecar, which says what a proxy knows", "Sidecar"),
    "HTTP_ROUTE": Instead("the VirtualService or HTTPRoute itself: leave the rule out", "VirtualService"),
}
"""What takes a part of its kind away."""

WITHOUT = nothing("a proxy of weft does only what some resource asks for: remove that resource")
"""What is said to a patch that removes a filter."""
