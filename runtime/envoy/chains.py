"""From what a filter chain carries, HttpChain or TcpChain, to Envoy's network filters. A new field of either goes into its function here."""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2 as early_header_mutation_pb2,
)
from envoy.type.v3 import hash_policy_pb2

from policies.authorization import Action, AuthorizationPolicy
from policies.path import BASE, DECODE_AND_MERGE_SLASHES, MERGE_SLASHES, NONE
from policies.proxy_headers import ProxyHeaders, certificate_mode, certificate_parts
from runtime.envoy import limits, tokens
from runtime.envoy.actions import PROTOCOL, UNRESOLVED
from runtime.envoy.authorization import Place, rbac
from runtime.envoy.clusters import dns_cache, http2_options
from runtime.envoy.failure import TranslationError
from runtime.envoy.headers import http1_options
from runtime.envoy.logs import access_logs
from runtime.envoy.messages import Message, config_source, extension, milliseconds
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.routes import CORS, FAULT, Use, negotiated, route_configuration, use_of
from snapshot.prepared import PreparedChain, PreparedSlice
from snapshot.section import (
    AddressPort,
    Deadlines,
    GatewayPort,
    HttpChain,
    Listener,
    MeshTls,
    OriginalDestination,
    PolicySet,
    PoolLimits,
    TcpChain,
    WorkloadPort,
)

SERVER = "weft"
RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_Manager = manager_pb2.HttpConnectionManager
_NETWORK = listener_components_pb2.Filter
_HTTP = manager_pb2.HttpFilter


def http_filters(prepared: PreparedSlice, chain: PreparedChain, network: HttpChain, place: Placement) -> list[Message]:
    """The network filters of a chain that speaks HTTP: one connection manager."""
    proxy = prepared.proxy
    deadlines = proxy.deadlines
    manager = _Manager(
        stat_prefix=_stat_prefix(chain),
        http_filters=_requests(prepared, chain, network, place),
        access_log=access_logs(proxy.access_log),
        **_server(proxy.headers, chain.listener.direction),
        generate_request_id={"value": proxy.headers.request_ids},
        strip_any_host_port=network.https_redirect,
        strip_trailing_host_dot=True,
        http_protocol_options=http1_options(proxy.headers, accept_http_10=True),
        http2_protocol_options=http2_options(deadlines),
        **_limits(deadlines),
        **_paths(proxy.path_normalization),
        **_trust(proxy.headers, chain.listener.direction, edge=network.edge),
        **_before_routing(chain),
        **_routes(prepared, use_of(network, chain.listener.direction, intercepts=place.intercepts), place),
        upgrade_configs=[
            _Manager.UpgradeConfig(upgrade_type=kind) for kind in ("websocket", *(["CONNECT"] if network.proxy else []))
        ],
    )
    return [extension(_NETWORK, "envoy.filters.network.http_connection_manager", manager)]


def _stat_prefix(chain: PreparedChain) -> str:
    return f"{chain.listener.name}|{chain.chain.name}"


def _routes(prepared: PreparedSlice, use: Use, place: Placement) -> dict[str, object]:
    if place.delivery is Delivery.DISCOVERED:
        return {"rds": manager_pb2.Rds(config_source=config_source(), route_config_name=use.name)}
    return {"route_config": route_configuration(prepared, use, stamp=place.stamp)}


def _requests(prepared: PreparedSlice, chain: PreparedChain, network: HttpChain, place: Placement) -> list[Message]:
    """The HTTP filters in the order in which ``snapshot.decide`` asks: tokens, authorization, then CORS, faults, limits, then the route's action."""
    filters = []
    for name, asking in authentication(chain, place).items():
        filters.append(
            _apart(name, tokens.TYPE) if place.delivery is Delivery.DISCOVERED else extension(_HTTP, name, asking)
        )
    for name, rules in authorization(prepared, chain, network).items():
        if place.delivery is Delivery.DISCOVERED:
            # Policies hold per request: they change apart from the listener, whose connections would go on under the old ones.
            filters.append(_apart(name, RBAC_TYPE))
        elif rules.HasField("rules"):
            filters.append(extension(_HTTP, name, rules))
    filters.append(extension(_HTTP, CORS, cors_pb2.Cors()))
    filters.append(extension(_HTTP, FAULT, fault_pb2.HTTPFault()))
    for name, counting in limits.filters(prepared, network, _stat_prefix(chain)).items():
        filters.append(
            _apart(name, limits.TYPE) if place.delivery is Delivery.DISCOVERED else extension(_HTTP, name, counting)
        )
    if negotiated(prepared):
        filters.append(extension(_HTTP, PROTOCOL, set_filter_state_pb2.Config()))
    asked = any(isinstance(cluster.endpoints, OriginalDestination) for cluster in prepared.clusters.values())
    if asked and (network.proxy or not place.intercepts):
        forward_proxy = dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=dns_cache())
        filters.append(extension(_HTTP, "envoy.filters.http.dynamic_forward_proxy", forward_proxy))
    filters.append(
        extension(
            _HTTP,
            "envoy.filters.http.router",
            router_pb2.Router(suppress_envoy_headers=not prepared.proxy.headers.internal),
        )
    )
    return filters


def _apart(name: str, kind: str) -> Message:
    """A filter that is a resource of its own."""
    discovery = config_source_pb2.ExtensionConfigSource(config_source=config_source(), type_urls=[kind])
    return _HTTP(name=name, config_discovery=discovery)


def discovered_filters(
    prepared: PreparedSlice, chain: PreparedChain, network: HttpChain, place: Placement
) -> list[Message]:
    """The filters of a chain that are resources of their own where they are discovered."""
    return [
        extension(extension_pb2.TypedExtensionConfig, name, rules)
        for name, rules in {
            **authentication(chain, place),
            **authorization(prepared, chain, network),
            **limits.filters(prepared, network, _stat_prefix(chain)),
        }.items()
    ]


def authentication(chain: PreparedChain, place: Placement) -> dict[str, Message]:
    """The filter that asks for tokens, by its name; one without rules asks for none.

    It stands where clients come in, even for no rules: a policy that comes later must find it in connections that are open.
    """
    if chain.listener.direction == "outbound" or (place.delivery is Delivery.STATIC and not chain.tokens):
        return {}
    return {f"tokens|{_stat_prefix(chain)}": tokens.token_filter(chain.tokens, place.live.tokens.sets)}


def authorization(prepared: PreparedSlice, chain: PreparedChain, network: HttpChain) -> dict[str, Message]:
    """The two authorization filters of a chain, by name; one without rules lets everything pass. Raises TranslationError."""
    found = {}
    place = Place(http=True, port=logical_port(chain.listener))
    for action in (Action.DENY, Action.ALLOW):
        rules = rbac(_policies(prepared, network.policies), action, place)
        name = f"rbac.{action.value.lower()}|{_stat_prefix(chain)}"
        found[name] = http_rbac_pb2.RBAC(rules=rules) if rules is not None else http_rbac_pb2.RBAC()
    return found


def logical_port(listener: Listener) -> int:
    """The port that policies name; 0 where it is the real one."""
    bind = listener.bind
    return bind.port if isinstance(bind, AddressPort | WorkloadPort | GatewayPort) else 0


def _policies(prepared: PreparedSlice, name: str) -> tuple[AuthorizationPolicy, ...]:
    section = prepared.sections.get(("policies", name)) if name else None
    return section.policies if isinstance(section, PolicySet) else ()


def _limits(deadlines: Deadlines) -> dict[str, object]:
    """What bounds every wait on a peer and every head."""
    return {
        "common_http_protocol_options": protocol_pb2.HttpProtocolOptions(
            idle_timeout=milliseconds(deadlines.idle_ms), max_headers_count={"value": deadlines.max_headers}
        ),
        "request_headers_timeout": milliseconds(deadlines.head_ms),
        "stream_idle_timeout": milliseconds(deadlines.stream_idle_ms),
        "drain_timeout": milliseconds(deadlines.drain_ms),
        "max_request_headers_kb": {"value": max(deadlines.max_head_bytes // 1024, 1)},
    }


def _paths(profile: str) -> dict[str, object]:
    """Istio's profiles of path normalisation."""
    fields: dict[str, object] = {"normalize_path": {"value": profile != NONE}}
    if profile in (MERGE_SLASHES, DECODE_AND_MERGE_SLASHES):
        fields["merge_slashes"] = True
    if profile == DECODE_AND_MERGE_SLASHES:
        fields["path_with_escaped_slashes_action"] = _Manager.UNESCAPE_AND_FORWARD
    if profile not in (NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES):
        raise TranslationError(f"the path normalisation {profile!r} has no form in Envoy")
    return fields


def _server(headers: ProxyHeaders, direction: str) -> dict[str, object]:
    """How the proxy is called in replies. Envoy has a name for its own ones in any case."""
    usual = "" if direction == "inbound" else SERVER
    named = usual if headers.server is None else headers.server
    return {
        "server_name": named or SERVER,
        "server_header_transformation": _Manager.OVERWRITE if named else _Manager.PASS_THROUGH,
    }


def _trust(headers: ProxyHeaders, direction: str, *, edge: bool) -> dict[str, object]:
    """What is believed of who sends, as ``runtime.http.rules`` has it."""
    shown = certificate_parts(headers, direction)
    details = _Manager.SetCurrentClientCertDetails(
        subject={"value": "subject" in shown}, cert="cert" in shown, uri="uri" in shown, dns="dns" in shown
    )
    return {
        "use_remote_address": {"value": edge},
        "xff_num_trusted_hops": headers.trusted_hops if edge else 0,
        "forward_client_cert_details": certificate_mode(headers, direction).upper(),
        "set_current_client_cert_details": details,
    }


def _before_routing(chain: PreparedChain) -> dict[str, object]:
    """What of a request's headers is settled before a route is chosen.

    Behind the mesh's own TLS a request is what it was before it: http, unless who sent it says otherwise. What only a token may tell is
    nobody's to say: the filter for tokens takes it away too late, after the first choice of a route.
    """
    mutation = mutation_rules_pb2.HeaderMutation
    mutations = [mutation(remove=name.decode()) for name in sorted(chain.claim_headers)]
    if isinstance(chain.chain.tls, MeshTls):
        kind = base_pb2.HeaderValueOption
        header = base_pb2.HeaderValue(key="x-forwarded-proto", value="http")
        mutations.append(mutation(append=kind(header=header, append_action=kind.ADD_IF_ABSENT)))
    if not mutations:
        return {}
    every = early_header_mutation_pb2.HeaderMutation(mutations=mutations)
    early = extension(extension_pb2.TypedExtensionConfig, "envoy.http.early_header_mutation.header_mutation", every)
    return {"early_header_mutation_extensions": [early]}


def tcp_filters(prepared: PreparedSlice, chain: PreparedChain, network: TcpChain) -> list[Message]:
    """The network filters of a chain that passes bytes; without a destination they lead to a cluster that is not there, which closes at once."""
    filters = []
    prefix = _stat_prefix(chain)
    for action in (Action.DENY, Action.ALLOW):
        place = Place(http=False, port=logical_port(chain.listener))
        rules = rbac(_policies(prepared, network.policies), action, place)
        if rules is not None:
            config = network_rbac_pb2.RBAC(rules=rules, stat_prefix=f"{prefix}|{action.value.lower()}")
            filters.append(extension(_NETWORK, "envoy.filters.network.rbac", config))
    kind = tcp_proxy_pb2.TcpProxy
    alive = [destination for destination in network.destinations if destination.weight]
    weights = [kind.WeightedCluster.ClusterWeight(name=one.cluster or UNRESOLVED, weight=one.weight) for one in alive]
    if len(alive) == 1:
        target: dict[str, object] = {"cluster": weights[0].name}
    elif alive:
        target = {"weighted_clusters": kind.WeightedCluster(clusters=weights)}
    else:
        target = {"cluster": UNRESOLVED}
    first = next((one for name in alive if (one := prepared.clusters.get(name.cluster)) is not None), None)
    # Envoy has one set for all that a chain may choose: the first destination's, as Istio has it.
    bounds = first.limits if first is not None else PoolLimits()
    if first is not None and first.hashing is not None and first.hashing.on == "source_ip":
        target["hash_policy"] = [hash_policy_pb2.HashPolicy(source_ip=hash_policy_pb2.HashPolicy.SourceIp())]
    tunnels = {cluster.tunnel for one in alive if (cluster := prepared.clusters.get(one.cluster)) is not None}
    if len(tunnels) > 1:
        raise TranslationError("Envoy has one tunnel for all destinations of a chain", network.source)
    for asked in tunnels - {None}:
        assert asked is not None
        target["tunneling_config"] = kind.TunnelingConfig(hostname=asked.authority, use_post=asked.method == "POST")
    if bounds.max_duration_ms:
        target["max_downstream_connection_duration"] = milliseconds(bounds.max_duration_ms)
    tunnel = kind(
        stat_prefix=prefix,
        idle_timeout=milliseconds(bounds.tcp_idle_ms or prepared.proxy.deadlines.idle_ms),
        access_log=access_logs(prepared.proxy.access_log),
        **target,
    )
    return [*filters, extension(_NETWORK, "envoy.filters.network.tcp_proxy", tunnel)]
