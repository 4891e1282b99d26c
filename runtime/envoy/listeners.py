"""From listeners to Envoy's listeners, and which of a listener's chains a connection takes (``runtime.choosing`` said in Envoy's terms)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from runtime.envoy.chains import http_filters, tcp_filters
from runtime.envoy.datagrams import datagram_listener
from runtime.envoy.messages import Message, address, extension, milliseconds
from runtime.envoy.placement import Placement
from runtime.envoy.tls import MESH_TCP_ALPN, downstream
from runtime.tls.contexts import MESH_ALPN
from snapshot.prepared import PreparedSlice
from snapshot.section import Deadlines, FilterChain, HttpChain, Listener, MeshTls, TcpChain, UdpChain

_HTTP_SNIFFED = ("http/1.0", "http/1.1", "h2c")
DIRECTIONS = {"inbound": base_pb2.INBOUND, "outbound": base_pb2.OUTBOUND, "gateway": base_pb2.OUTBOUND}


class Fit(msgspec.Struct, frozen=True):
    """Which connections take a chain."""

    transport: str
    server_names: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()


def listener(prepared: PreparedSlice, section: Listener, place: Placement) -> Message | None:
    """One listener, or None where this machine gives it no address; raises TranslationError."""
    where = place.bootstrap.resolve(section.bind)
    if where is None:
        return None
    if section.protocol == "udp":
        return datagram_listener(prepared, section, where)
    deadlines = prepared.proxy.deadlines
    chains = [
        filter_chain(prepared, section, chain, fit, place) for chain, fit in fits(section.chains, section.protocol)
    ]
    return listener_pb2.Listener(
        name=section.name,
        address=address(*where),
        filter_chains=chains,
        listener_filters=inspectors(section),
        listener_filters_timeout=milliseconds(silence_ms(section, deadlines)),
        # In many protocols the server speaks first: whoever says nothing is a plain connection.
        continue_on_listener_filters_timeout=section.protocol != "http",
        per_connection_buffer_limit_bytes={"value": deadlines.buffer_bytes},
        traffic_direction=DIRECTIONS[section.direction],
    )


def silence_ms(section: Listener, deadlines: Deadlines) -> int:
    """How long a client may say nothing: a short while where the server may be the one to speak first, else as long as a handshake may take."""
    may_wait = any(isinstance(chain.network, TcpChain) for chain in _plain(section.chains))
    return deadlines.sniff_ms if may_wait and deadlines.sniff_ms else deadlines.tls_handshake_ms


def fits(chains: Sequence[FilterChain], protocol: str) -> Iterator[tuple[FilterChain, Fit]]:
    """Chains with the connections that are theirs. Of chains that fit a connection equally the first has it (``choose_tls``)."""
    claimed: set[tuple[str, str, str]] = set()
    for chain in chains:
        fit = _fit(chain, chains, protocol)
        ways = fit.protocols or ("",)
        # Envoy has no name for every server name: a chain without names is that.
        free = [
            name for name in fit.server_names or ("",) if any((fit.transport, name, way) not in claimed for way in ways)
        ]
        claimed.update((fit.transport, name, way) for name in free for way in ways)
        if free:
            yield chain, msgspec.structs.replace(fit, server_names=tuple(name for name in free if name))


def _fit(chain: FilterChain, rivals: Sequence[FilterChain], protocol: str) -> Fit:
    http = isinstance(chain.network, HttpChain)
    if chain.tls is None and not chain.passthrough:
        both = protocol == "auto" and any(isinstance(one.network, HttpChain) != http for one in _plain(rivals))
        return Fit("raw_buffer", protocols=_HTTP_SNIFFED if http and both else ())
    names = () if "*" in chain.server_names else chain.server_names
    if not isinstance(chain.tls, MeshTls):
        return Fit("tls", names, tuple(sorted(MESH_ALPN)) if chain.from_mesh else ())
    # A mesh chain needs to say what it speaks only where another chain takes the same names.
    others = [one for one in rivals if one is not chain and (one.tls is not None or one.passthrough)]
    alike = [one for one in others if _overlap(chain, one)]
    protocols: tuple[str, ...] = ()
    if any(isinstance(one.tls, MeshTls) and isinstance(one.network, HttpChain) != http for one in alike):
        protocols = tuple(sorted(MESH_ALPN - set(MESH_TCP_ALPN))) if http else MESH_TCP_ALPN
    elif alike:
        protocols = tuple(sorted(MESH_ALPN))
    return Fit("tls", names, protocols)


def _plain(chains: Sequence[FilterChain]) -> list[FilterChain]:
    return [chain for chain in chains if chain.tls is None and not chain.passthrough]


def _overlap(one: FilterChain, other: FilterChain) -> bool:
    mine, theirs = set(one.server_names), set(other.server_names)
    return mine == theirs or bool(mine & theirs)


def inspectors(section: Listener) -> list[Message]:
    """What looks at the first bytes of a connection to find its chain."""
    kind = listener_components_pb2.ListenerFilter
    filters = []
    if section.proxy_protocol:
        filters.append(extension(kind, "envoy.filters.listener.proxy_protocol", proxy_protocol_pb2.ProxyProtocol()))
    if any(chain.tls is not None or chain.passthrough for chain in section.chains):
        filters.append(extension(kind, "envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector()))
    if section.protocol == "auto":
        filters.append(extension(kind, "envoy.filters.listener.http_inspector", http_inspector_pb2.HttpInspector()))
    return filters


def filter_chain(prepared: PreparedSlice, section: Listener, chain: FilterChain, fit: Fit, place: Placement) -> Message:
    """One chain, for the connections that fit it; raises TranslationError."""
    at = prepared.chains[section.name, chain.name]
    network = chain.network
    inspects = any(one.tls is not None or one.passthrough for one in section.chains)
    match = listener_components_pb2.FilterChainMatch(
        transport_protocol=fit.transport if inspects else "",
        server_names=fit.server_names,
        application_protocols=fit.protocols,
    )
    assert not isinstance(network, UdpChain)
    filters = (
        http_filters(prepared, at, network, place)
        if isinstance(network, HttpChain)
        else tcp_filters(prepared, at, network)
    )
    made = listener_components_pb2.FilterChain(name=chain.name, filter_chain_match=match, filters=filters)
    if chain.tls is not None:
        socket = downstream(chain.tls, prepared.proxy, place.delivery, http=isinstance(network, HttpChain))
        made.transport_socket.CopyFrom(socket)
        made.transport_socket_connect_timeout.CopyFrom(milliseconds(prepared.proxy.deadlines.tls_handshake_ms))
    return made
