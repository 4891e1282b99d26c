"""From route tables to Envoy's route configurations.

A table becomes one configuration for each way in which chains use it (``Use``): as it is; with a virtual host that takes every unclaimed
authority (a listener per service); merged with the tables of all ports (the explicit proxy); or as a redirect to https.

Hosts are compared without their port. Where a table tells hosts apart by port, the port is written into the names instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as fault_common_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.type.v3 import percent_pb2

from policies.source import SourceRef
from policies.traffic import Cors, DirectResponse, Fault, Forward, Redirect
from runtime.envoy.actions import Marked, direct_response, forward, redirect, reply
from runtime.envoy.clusters import NAMED
from runtime.envoy.failure import TranslationError
from runtime.envoy.headers import appended, header_fields
from runtime.envoy.limits import route_metadata
from runtime.envoy.matches import connect_match, route_match
from runtime.envoy.messages import Message, milliseconds, packed, string_matcher
from runtime.envoy.shares import parted
from runtime.http.rules import SNAPSHOT
from snapshot.prepared import PreparedRoute, PreparedSlice, PreparedTable, PreparedVirtualHost
from snapshot.section import HttpChain, MeshUpstream, OriginalDestination, Route

BLACK_HOLE = "BlackHoleCluster"
CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"
MAX_BODY = 1 << 20

Domains = list[tuple[PreparedVirtualHost, list[str]]]


class Use(msgspec.Struct, frozen=True):
    """How a chain uses a table. ``host`` is the domain whose virtual host takes what no other claims; ``name`` is that of the configuration.

    ``named`` says that beside the explicit proxy, where requests name their destination, there are connections whose destination the kernel knows.
    """

    table: str
    host: str = ""
    proxy: bool = False
    https_redirect: bool = False
    inbound: bool = False
    named: bool = False

    @property
    def name(self) -> str:
        """The name of the route configuration."""
        suffix = "|https" if self.https_redirect else f"|{self.host}" if self.host else NAMED if self.named else ""
        return f"{self.table}{suffix}"


def use_of(chain: HttpChain, direction: str, *, intercepts: bool = False) -> Use:
    """What a chain of a listener of this direction wants of its table."""
    if chain.https_redirect:
        return Use(chain.routes, https_redirect=True)
    return Use(
        chain.routes,
        host=chain.host,
        proxy=chain.proxy,
        inbound=direction == "inbound",
        named=chain.proxy and intercepts,
    )


def route_configuration(prepared: PreparedSlice, use: Use, *, stamp: str = "") -> Message:
    """One route configuration; raises TranslationError."""
    if use.https_redirect:
        hosts = [_redirect_all()]
    elif use.proxy:
        hosts = list(_merged(prepared, prepared.tables[use.table]))
    else:
        hosts = list(_hosts(prepared.tables[use.table], use.host, marked(prepared)))
    for host in hosts:
        host.include_request_attempt_count = not use.inbound and prepared.proxy.headers.attempts
        if use.named:
            _go_by_name(
                host, {one.name for one in prepared.clusters.values() if one.endpoints == OriginalDestination()}
            )
    stamped = [appended(SNAPSHOT.decode(), stamp)] if stamp else []
    return route_pb2.RouteConfiguration(
        name=use.name,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=not use.proxy and not (use.table and _by_port(prepared.tables[use.table])),
        validate_clusters={"value": False},
        max_direct_response_body_size_bytes={"value": MAX_BODY},
        response_headers_to_add=stamped,
    )


def _go_by_name(host: Message, clusters: Collection[str]) -> None:
    """Has the routes of a host lead to the variants of clusters that go where a request names, not where the connection was going."""
    for one in host.routes:
        if not one.HasField("route"):
            continue
        weighted = one.route.weighted_clusters.clusters if one.route.HasField("weighted_clusters") else ()
        for holder, field in (
            (one.route, "cluster"),
            *((part, "name") for part in weighted),
            *((part, "cluster") for part in one.route.request_mirror_policies),
        ):
            if getattr(holder, field) in clusters:
                setattr(holder, field, getattr(holder, field) + NAMED)


def negotiated(prepared: PreparedSlice) -> frozenset[str]:
    """The clusters behind mesh TLS that speak what downstream speaks."""
    clusters = prepared.clusters.values()
    return frozenset(one.name for one in clusters if one.protocol == "same" and isinstance(one.tls, MeshUpstream))


def marked(prepared: PreparedSlice) -> Marked:
    """The clusters that routes must treat in a way of their own."""
    return Marked(negotiated(prepared), frozenset(one.name for one in prepared.clusters.values() if one.hashing))


def _redirect_all() -> Message:
    action = route_components_pb2.RedirectAction(https_redirect=True)
    route = route_components_pb2.Route(name="https-redirect", match={"prefix": "/"}, redirect=action)
    return route_components_pb2.VirtualHost(name="https-redirect", domains=["*"], routes=[route])


# --- one table -----------------------------------------------------------------------------------------------------------------


def _hosts(table: PreparedTable, takes_all: str, same: Marked) -> Iterator[Message]:
    """The virtual hosts of one table; that of the domain ``takes_all``, where one is given, stands for ``*``."""
    all_else = table.exact.get(takes_all, table.fallback) if takes_all else table.fallback
    claimed = _claimed(table)
    if _by_port(table):
        if table.suffixes:
            source = table.section.source
            raise TranslationError("host names with and without ports beside wildcards have no form in Envoy", source)
        claimed = [(host, [one for name in names for one in _any_port(name)]) for host, names in claimed]
    for host, names in claimed:
        yield virtual_host(host, [*names, "*"] if host is all_else else names, same, proxy=False)
    if all_else is None:
        yield from unmatched(table)
    elif all(host is not all_else for host, _ in claimed):
        yield virtual_host(all_else, ["*"], same, proxy=False)


def _claimed(table: PreparedTable) -> Domains:
    """Virtual hosts with the names that are theirs, ``*`` left out; of names with and without a port of one host the latter is enough."""
    found: dict[int, tuple[PreparedVirtualHost, list[str]]] = {}
    for name, host in (*table.exact.items(), *((f"*{suffix}", host) for suffix, host in table.suffixes.items())):
        bare = _bare(name)
        if bare is None or table.exact.get(bare) is not host:
            found.setdefault(id(host), (host, []))[1].append(name)
    return list(found.values())


def _by_port(table: PreparedTable) -> bool:
    """Whether the port of an authority decides between hosts."""
    return any(
        (bare := _bare(name)) is not None and table.exact.get(bare) is not host for name, host in table.exact.items()
    )


def _bare(name: str) -> str | None:
    """A name without its port, or None where it has none."""
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdigit() and not host.endswith(":") else None


def _any_port(name: str) -> list[str]:
    return [name] if _bare(name) is not None else [name, f"{name}:*"]


def unmatched(table: PreparedTable, domains: Iterable[str] = ("*",)) -> Iterator[Message]:
    """What becomes of hosts that no virtual host claims: nothing here where that is 404."""
    cluster = table.section.unmatched
    if not cluster:
        return
    if cluster == BLACK_HOLE:
        name = "block_all"
        routes = [route_components_pb2.Route(name=name, match={"prefix": "/"}, direct_response=reply(502))]
    else:
        name = "allow_any"
        action = route_components_pb2.RouteAction(cluster=cluster, timeout=milliseconds(0))
        tunnel = route_components_pb2.RouteAction(cluster=cluster, timeout=milliseconds(0))
        tunnel.upgrade_configs.append(_connect())
        routes = [
            route_components_pb2.Route(name=name, match={"connect_matcher": {}}, route=tunnel),
            route_components_pb2.Route(name=name, match={"prefix": "/"}, route=action),
        ]
    yield route_components_pb2.VirtualHost(name=f"{name}|{table.section.name}", domains=list(domains), routes=routes)


# --- the explicit proxy ----------------------------------------------------------------------------------------------------------


def _merged(prepared: PreparedSlice, own: PreparedTable) -> Iterator[Message]:
    """The tables of all ports in one: names carry the port, and those of port 80 also stand alone, as in a request that names no port."""
    same = marked(prepared)
    by_port = prepared.tables_of(own.section.group)
    for port, table in sorted(by_port.items()):
        for host, names in _claimed(table):
            yield virtual_host(host, [one for name in names for one in _with_port(name, port)], same, proxy=True)
        if table.fallback is not None:
            yield virtual_host(table.fallback, _with_port("*", port)[:1], same, proxy=True)
        else:
            yield from unmatched(table, [f"*:{port}"])
    rest = by_port.get(80, own)
    if (rest.section.unmatched, rest.fallback) != (own.section.unmatched, own.fallback):
        raise TranslationError(
            "port 80's catch-all differs from other ports': Envoy cannot tell them apart", own.section.source
        )
    yield from _hosts(own, "", same) if rest is own else unmatched(own)


def _with_port(name: str, port: int) -> list[str]:
    return [f"{name}:{port}", name] if port == 80 else [f"{name}:{port}"]


# --- virtual hosts and routes ----------------------------------------------------------------------------------------------------


def virtual_host(host: PreparedVirtualHost, domains: list[str], same: Marked, *, proxy: bool) -> Message:
    """One virtual host; where the chain is an explicit ``proxy``, its routes take CONNECT, too."""
    section = host.section
    routes = [part for rank in sorted(host.routes) for part in parted(host.routes[rank])]
    made = [one for prepared, share in routes if proxy for one in _connect_route(prepared, same, share)]
    return route_components_pb2.VirtualHost(
        name=f"{section.name}",
        domains=domains,
        routes=[*made, *(route(prepared, same, share) for prepared, share in routes)],
        **header_fields(section.request_headers, section.response_headers),
    )


def route(prepared: PreparedRoute, same: Marked, share: int = 0) -> Message:
    """One route, or the ``share`` per million of requests that it takes of one; raises TranslationError."""
    section = prepared.route
    match = route_match(section.match)
    if share:
        match.runtime_fraction.default_value.CopyFrom(_share(share))
    return route_components_pb2.Route(
        name=section.name,
        match=match,
        **_action(prepared, same),
        **header_fields(section.request_headers, section.response_headers),
        **_per_filter(section),
        metadata=_metadata(section),
    )


def _metadata(section: Route) -> Message:
    """What made a route, where our own dump says it too, and which limits count it."""
    made = route_metadata(section.limits)
    made.filter_metadata["weft"]["sources"] = [str(section.source)]
    return made


def _connect_route(prepared: PreparedRoute, same: Marked, share: int) -> Iterator[Message]:
    match = connect_match(prepared.route.match)
    if match is None:
        return
    made = route(prepared, same)
    if share:
        match.runtime_fraction.default_value.CopyFrom(_share(share))
    made.match.CopyFrom(match)
    if made.HasField("route"):
        made.route.ClearField("regex_rewrite")
        made.route.ClearField("prefix_rewrite")
        made.route.upgrade_configs.append(_connect())
    yield made


def _connect() -> Message:
    return route_components_pb2.RouteAction.UpgradeConfig(upgrade_type="CONNECT", connect_config={})


def _action(prepared: PreparedRoute, same: Marked) -> dict[str, object]:
    section = prepared.route
    if section.fault is not None and not isinstance(section.action, Forward):
        # Envoy's fault filter does not stand before replies of the proxy's own.
        raise TranslationError("a fault on a route that answers by itself has no form in Envoy", section.source)
    match section.action:
        case Forward() as action:
            return forward(action, section, same)
        case Redirect() as action:
            return {"redirect": redirect(action, section.match.path, section.source)}
        case DirectResponse() as action:
            return {"direct_response": direct_response(action)}


def _per_filter(section: Route) -> dict[str, object]:
    found = {}
    if section.fault is not None:
        found[FAULT] = packed(http_fault(section.fault, section.source))
    if section.cors is not None:
        found[CORS] = packed(cors_policy(section.cors))
    return {"typed_per_filter_config": found} if found else {}


def cors_policy(cors: Cors) -> Message:
    """What the CORS filter does on one route."""
    return cors_pb2.CorsPolicy(
        allow_origin_string_match=[string_matcher(origin) for origin in cors.origins],
        allow_methods=cors.methods,
        allow_headers=cors.headers,
        expose_headers=cors.expose_headers,
        max_age="" if cors.max_age_s < 0 else str(cors.max_age_s),
        allow_credentials={"value": cors.credentials},
        forward_not_matching_preflights={"value": cors.forward_unmatched},
    )


def http_fault(fault: Fault, source: SourceRef) -> Message:
    """What the fault filter does on one route."""
    fields: dict[str, object] = {}
    if fault.delay is not None:
        fields["delay"] = fault_common_pb2.FaultDelay(
            fixed_delay=milliseconds(fault.delay.delay_ms), percentage=_share(fault.delay.per_million)
        )
    if fault.abort is not None:
        if fault.abort.grpc_status >= 0:
            abort = fault_pb2.FaultAbort(
                grpc_status=fault.abort.grpc_status, percentage=_share(fault.abort.per_million)
            )
        elif 200 <= fault.abort.status < 600:
            abort = fault_pb2.FaultAbort(http_status=fault.abort.status, percentage=_share(fault.abort.per_million))
        else:
            raise TranslationError(f"an abort with status {fault.abort.status} has no form in Envoy", source)
        fields["abort"] = abort
    return fault_pb2.HTTPFault(**fields)


def _share(per_million: int) -> Message:
    return percent_pb2.FractionalPercent(numerator=per_million, denominator=percent_pb2.FractionalPercent.MILLION)
