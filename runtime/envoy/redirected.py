"""Listeners for connections that the kernel redirected (``runtime.interception`` said in Envoy's terms, the shape is Istio's).

    virtualInbound   15006, all that comes in: a filter chain for each port, those without a port for every other
    virtualOutbound  15001, which hands a connection to the listener that stands for where it was going and itself is never bound:
                     address and port of a service, else 0.0.0.0 and the port; what nobody has stays here

Who asks 15001 itself finds the explicit proxy. A connection that was going to one of the two ports is refused: it could only come back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.type.v3 import range_pb2

from runtime.envoy.actions import UNRESOLVED
from runtime.envoy.listeners import DIRECTIONS, filter_chain, fits, inspectors, silence_ms
from runtime.envoy.messages import Message, address, extension, milliseconds
from runtime.envoy.placement import Placement
from runtime.interception import MARK, OUTBOUND, Target, redirected_to
from snapshot.prepared import PreparedSlice
from snapshot.section import Listener, ProxyPort, ServicePort, UndeclaredPort, WorkloadPort

INBOUND = "virtualInbound"
_EVERY = ("0.0.0.0", "::")  # noqa: S104  what never is bound
_LOOPBACK = ("127.0.0.1", "::1")
_FILTER = listener_components_pb2.ListenerFilter


def leads_to(listener: Listener, place: Placement) -> bool:
    """Whether the kernel's redirection leads to a listener of a proxy that intercepts."""
    if not place.intercepts:
        return False
    bind = listener.bind
    return isinstance(bind, WorkloadPort | UndeclaredPort | ProxyPort) or (
        isinstance(bind, ServicePort) and (not bind.host or bool(listener.addresses))
    )


def redirected(prepared: PreparedSlice, place: Placement) -> Iterator[Message]:
    """All listeners of redirected connections; raises TranslationError."""
    sections = [one for one in prepared.listeners.values() if leads_to(one, place)]
    inbound = [one for one in sections if isinstance(one.bind, WorkloadPort | UndeclaredPort)]
    if inbound:
        yield _virtual_inbound(prepared, inbound, place)
    services = [one for one in sections if isinstance(one.bind, ServicePort)]
    yield from _virtual_outbound(prepared, prepared.listeners.get(OUTBOUND), services, place)
    yield from _by_address(prepared, services, place)
    yield from _by_port(prepared, services, place)


# --- in -----------------------------------------------------------------------------------------------------------------------


def _virtual_inbound(prepared: PreparedSlice, sections: Sequence[Listener], place: Placement) -> Message:
    chains = [_refusing(port) for port in (place.bootstrap.ports.inbound, place.bootstrap.ports.outbound)]
    taken: set[int] = set()
    for section in sections:
        port = _port(section)
        if port not in taken:
            taken.add(port)
            chains += _chains(prepared, section, place, port)
    made = _bound(INBOUND, redirected_to(place.bootstrap)["inbound"], chains)
    made.traffic_direction = DIRECTIONS["inbound"]
    plain = [_port(one) for one in sections if _port(one) and not _has_tls(one)]
    if place.transparent:
        made.transparent.value = True
        source = original_src_pb2.OriginalSrc(mark=MARK)
        made.listener_filters.append(extension(_FILTER, "envoy.filters.listener.original_src", source))
    made.listener_filters.extend(
        [
            _original_destination(),
            _unless(
                plain, extension(_FILTER, "envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector())
            ),
            _sniffing([_port(one) for one in sections if _port(one) and one.protocol != "auto"]),
        ]
    )
    return _patient(prepared, made, min(silence_ms(one, prepared.proxy.deadlines) for one in sections))


def _port(section: Listener) -> int:
    bind = section.bind
    return bind.port if isinstance(bind, WorkloadPort | UndeclaredPort | ServicePort) else 0


def _has_tls(section: Listener) -> bool:
    return any(chain.tls is not None or chain.passthrough for chain in section.chains)


# --- out ----------------------------------------------------------------------------------------------------------------------


def _virtual_outbound(
    prepared: PreparedSlice, explicit: Listener | None, services: Sequence[Listener], place: Placement
) -> Iterator[Message]:
    """The listener that hands over, with the explicit proxy's chains and those of what nobody has."""
    rest = [one for one in services if one.bind == ServicePort("", 0)]
    if explicit is None or not rest:
        return
    port = place.bootstrap.ports.outbound
    asked = _chains(prepared, explicit, place, port, _LOOPBACK)
    places = [(_LOOPBACK[0], port), *redirected_to(place.bootstrap)["outbound"]]
    made = _bound(explicit.name, places, [*asked, *_chains(prepared, rest[0], place, 0)])
    made.traffic_direction = DIRECTIONS["outbound"]
    made.use_original_dst.value = True
    # Where a connection was going comes first: what other listeners take they look at themselves, or do not wait for at all.
    known = sorted({port, *(_port(one) for one in services if _port(one))})
    made.listener_filters.extend([_original_destination(), _sniffing(known)])
    yield _patient(prepared, made, silence_ms(rest[0], prepared.proxy.deadlines))


def _by_address(prepared: PreparedSlice, services: Sequence[Listener], place: Placement) -> Iterator[Message]:
    """A listener for each service that has addresses; of an address and port the first has it."""
    taken: set[Target] = set()
    for section in services:
        port = _port(section)
        free = [(one, port) for one in section.addresses if "/" not in one and (one, port) not in taken]
        taken.update(free)
        if free:
            yield _unbound(prepared, section, free, _chains(prepared, section, place, 0))


def _by_port(prepared: PreparedSlice, services: Sequence[Listener], place: Placement) -> Iterator[Message]:
    """A listener for every other address of a port that some service has; blocks of addresses are chains of it."""
    own = {_port(one): one for one in services if one.bind == ServicePort("", _port(one)) and _port(one)}
    for port, section in own.items():
        chains = _chains(prepared, section, place, 0)
        taken: set[str] = set()
        for other in services:
            blocks = [one for one in other.addresses if "/" in one and one not in taken]
            if blocks and _port(other) == port:
                taken.update(blocks)
                chains += _chains(prepared, other, place, 0, blocks)
        yield _unbound(prepared, section, [(one, port) for one in _EVERY], chains)


def _unbound(
    prepared: PreparedSlice, section: Listener, places: Sequence[Target], chains: Sequence[Message]
) -> Message:
    made = _bound(section.name, places, chains)
    made.bind_to_port.value = False
    made.traffic_direction = DIRECTIONS[section.direction]
    made.listener_filters.extend(inspectors(section))
    return _patient(prepared, made, silence_ms(section, prepared.proxy.deadlines))


# --- parts --------------------------------------------------------------------------------------------------------------------


def _bound(name: str, places: Sequence[Target], chains: Sequence[Message]) -> Message:
    first, *others = places
    made = listener_pb2.Listener(name=name, address=address(*first), filter_chains=chains)
    made.additional_addresses.extend(listener_pb2.AdditionalAddress(address=address(*one)) for one in others)
    return made


def _patient(prepared: PreparedSlice, made: Message, silence: int) -> Message:
    """A listener with its bounds. In many protocols the server speaks first: whoever says nothing is a plain connection."""
    made.listener_filters_timeout.CopyFrom(milliseconds(silence))
    made.continue_on_listener_filters_timeout = True
    made.per_connection_buffer_limit_bytes.value = prepared.proxy.deadlines.buffer_bytes
    return made


def _chains(
    prepared: PreparedSlice, section: Listener, place: Placement, port: int, addresses: Sequence[str] = ()
) -> list[Message]:
    """A section's chains, for connections to a port (0 for any) and to some addresses or blocks (none for any)."""
    found = []
    for chain, fit in fits(section.chains, section.protocol):
        made = filter_chain(prepared, section, chain, fit, place)
        made.name = f"{section.name}|{chain.name}"
        if port:
            made.filter_chain_match.destination_port.value = port
        for one in addresses:
            block = ipaddress.ip_network(one, strict=False)
            made.filter_chain_match.prefix_ranges.add(
                address_prefix=str(block.network_address), prefix_len={"value": block.prefixlen}
            )
        found.append(made)
    return found


def _refusing(port: int) -> Message:
    """A chain that ends connections to a port at once: they lead to a cluster that is not there."""
    name = f"refused|{port}"
    config = tcp_proxy_pb2.TcpProxy(stat_prefix=name, cluster=UNRESOLVED)
    made = listener_components_pb2.FilterChain(
        name=name, filters=[extension(listener_components_pb2.Filter, "envoy.filters.network.tcp_proxy", config)]
    )
    made.filter_chain_match.destination_port.value = port
    return made


def _original_destination() -> Message:
    return extension(_FILTER, "envoy.filters.listener.original_dst", original_dst_pb2.OriginalDst())


def _sniffing(declared: Sequence[int]) -> Message:
    """What looks for HTTP, but on ports of which it is known what they speak."""
    return _unless(
        declared, extension(_FILTER, "envoy.filters.listener.http_inspector", http_inspector_pb2.HttpInspector())
    )


def _unless(ports: Sequence[int], inspector: Message) -> Message:
    """A listener filter that lets connections to some ports pass."""
    kind = listener_components_pb2.ListenerFilterChainMatchPredicate
    rules = [kind(destination_port_range=range_pb2.Int32Range(start=port, end=port + 1)) for port in sorted({*ports})]
    if len(rules) == 1:
        inspector.filter_disabled.CopyFrom(rules[0])
    elif rules:
        inspector.filter_disabled.or_match.rules.extend(rules)
    return inspector
