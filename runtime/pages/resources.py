"""Sections as Envoy's resources, as far as its own words reach: what tools that read Envoy's ``/config_dump`` look for.

This is a description of what our data plane runs, not what an Envoy is fed (``runtime.envoy`` makes that): fields that have no
counterpart are left out here and stand whole in ``/sections``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from policies.match import Exact, PathExact, PathPrefix, PathRegex, PathSegments, Prefix, Regex, RouteMatch, Suffix
from policies.source import SourceRef
from policies.traffic import Destination, DirectResponse, Forward, Redirect
from runtime.bootstrap import Bootstrap
from runtime.interception import led_from
from runtime.socket_address import is_path
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    DnsEndpoints,
    FilterChain,
    HttpChain,
    Listener,
    MeshUpstream,
    OriginalDestination,
    RegisteredEndpoints,
    Route,
    RouteTable,
    StaticEndpoints,
    UdpChain,
    UndeclaredPort,
    VirtualHost,
    WorkloadPort,
)

TYPE = "type.googleapis.com/envoy."
_TLS = "extensions.transport_sockets.tls.v3."
_HTTP_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "extensions.filters.network.tcp_proxy.v3.TcpProxy"
_UDP_PROXY = "extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
_DIRECTIONS = {"inbound": "INBOUND", "outbound": "OUTBOUND", "gateway": "OUTBOUND"}

Plain = dict[str, Any]


def cluster(section: Cluster) -> Plain:
    """A Cluster."""
    shown: Plain = {
        "@type": f"{TYPE}config.cluster.v3.Cluster",
        "name": section.name,
        "type": _discovery(section),
        "lb_policy": "CLUSTER_PROVIDED"
        if isinstance(section.endpoints, OriginalDestination)
        else section.balance.upper(),
        "connect_timeout": f"{section.limits.connect_timeout_ms / 1000:g}s",
        "metadata": _metadata(section.sources),
    }
    if section.tls is not None:
        mesh = isinstance(section.tls, MeshUpstream)
        shown["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPE}{_TLS}UpstreamTlsContext",
                "sni": section.tls.server_name,
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "default"}] if mesh else []},
            },
        }
    return shown


def _discovery(section: Cluster) -> str:
    source = section.endpoints
    match source:
        case StaticEndpoints() | ApplicationEndpoint():
            return "STATIC"
        case DnsEndpoints():
            return "STRICT_DNS"
        case RegisteredEndpoints():
            return "EDS"
        case OriginalDestination():
            return "ORIGINAL_DST"
        case _:
            assert_never(source)


def listener(section: Listener, bootstrap: Bootstrap) -> Plain | None:
    """A Listener, or None where this machine gives it no address and nothing is redirected to it."""
    where = bootstrap.resolve(section.bind)
    led = led_from(section, bootstrap) if where is None else []
    if where is None and not led:
        return None
    first, *others = [where] if where is not None else led
    more = {"additional_addresses": [{"address": _address(*one, datagrams=False)} for one in others]} if others else {}
    return {
        "@type": f"{TYPE}config.listener.v3.Listener",
        "name": section.name,
        "address": _address(*first, datagrams=section.protocol == "udp"),
        **more,
        **({} if where is not None else {"bind_to_port": False}),
        "filter_chains": [_filter_chain(chain, _redirected_port(section) if led else 0) for chain in section.chains],
        "traffic_direction": _DIRECTIONS.get(section.direction, "UNSPECIFIED"),
        "metadata": _metadata((section.source,)),
    }


def _address(host: str, port: int, *, datagrams: bool) -> Plain:
    if is_path(host):
        return {"pipe": {"path": host}}
    shown = {"address": host, "port_value": port}
    return {"socket_address": {"protocol": "UDP", **shown} if datagrams else shown}


def _redirected_port(section: Listener) -> int:
    """The port by which connections that came in are told apart; 0 where it does not."""
    bind = section.bind
    return bind.port if isinstance(bind, WorkloadPort | UndeclaredPort) else 0


def _filter_chain(chain: FilterChain, port: int = 0) -> Plain:
    match: Plain = {"destination_port": port} if port else {}
    if chain.server_names:
        match["server_names"] = list(chain.server_names)
    if chain.tls is not None or chain.passthrough:
        match["transport_protocol"] = "tls"
    shown: Plain = {"name": chain.name, "filter_chain_match": match, "filters": [_network_filter(chain)]}
    if chain.tls is not None:
        secrets = getattr(chain.tls, "credentials", ("default",))
        shown["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPE}{_TLS}DownstreamTlsContext",
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": name} for name in secrets]},
            },
        }
    return shown


def _network_filter(chain: FilterChain) -> Plain:
    network = chain.network
    if isinstance(network, HttpChain):
        manager = {"@type": f"{TYPE}{_HTTP_MANAGER}", "rds": {"route_config_name": network.routes}}
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    if isinstance(network, UdpChain):
        proxy = {"@type": f"{TYPE}{_UDP_PROXY}", "stat_prefix": chain.name, **_clusters(network.destinations)}
        return {"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}
    proxy = {"@type": f"{TYPE}{_TCP_PROXY}", "stat_prefix": chain.name, **_clusters(network.destinations)}
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}


def route_table(section: RouteTable, hosts: Iterable[tuple[VirtualHost, list[Route]]]) -> Plain:
    """A RouteConfiguration."""
    return {
        "@type": f"{TYPE}config.route.v3.RouteConfiguration",
        "name": section.name,
        "virtual_hosts": [
            {"name": host.name, "domains": list(host.domains), "routes": [_route(one) for one in routes]}
            for host, routes in hosts
        ],
    }


def _route(route: Route) -> Plain:
    shown: Plain = {"match": _match(route.match), "metadata": _metadata((route.source,))}
    if route.name:
        shown["name"] = route.name
    action = route.action
    match action:
        case Forward():
            shown["route"] = {**_clusters(action.destinations), "timeout": f"{route.timeout_ms / 1000:g}s"}
        case Redirect():
            fields = {"host_redirect": action.authority or action.host, "path_redirect": action.path}
            shown["redirect"] = {name: value for name, value in fields.items() if value}
        case DirectResponse():
            shown["direct_response"] = {"status": action.status, "body": {"inline_string": action.body}}
        case _:
            assert_never(action)
    return shown


def _match(match: RouteMatch) -> Plain:
    shown: Plain = {}
    path = match.path
    match path:
        case None:
            shown["prefix"] = "/"
        case PathExact():
            shown["path"] = path.value
        case PathPrefix():
            shown["prefix"] = path.value
        case PathSegments():
            shown["path_separated_prefix"] = path.value
        case PathRegex():
            shown["safe_regex"] = {"regex": path.pattern}
        case _:
            assert_never(path)
    headers = [{"name": one.name, "string_match": _string(one.match)} for one in match.headers]
    if match.method is not None:
        headers.insert(0, {"name": ":method", "string_match": _string(match.method)})
    if headers:
        shown["headers"] = headers
    return shown


def _string(match: object) -> Plain:
    match match:
        case Exact():
            return {"exact": match.value}
        case Prefix():
            return {"prefix": match.value}
        case Suffix():
            return {"suffix": match.value}
        case Regex():
            return {"safe_regex": {"regex": match.pattern}}
        case _:
            return {"prefix": ""}


def _clusters(destinations: tuple[Destination, ...]) -> Plain:
    if len(destinations) == 1:
        return {"cluster": destinations[0].cluster}
    return {"weighted_clusters": {"clusters": [{"name": one.cluster, "weight": one.weight} for one in destinations]}}


def _metadata(sources: tuple[SourceRef, ...]) -> Plain:
    """Which resources made it, where Istio's tools look for that."""
    return {"filter_metadata": {"weft": {"sources": [str(one) for one in sources]}}}
