"""From a UDP listener to Envoy's: one listener filter, the UDP proxy, which keeps sessions by itself. A new field of UdpChain goes in here.

Envoy's UDP proxy knows neither policies nor weights, but a tree of matchers that choose a cluster for each new session. Who is not let in is sent
to a cluster that is not there. Of two destinations the first takes its share of the others by a hash of their ports, the second that of those who
are left, and so on.

Of a datagram's sender only the address is known. So what a set of policies says is a function of that, constant between the blocks that they
name: one address of each block is asked of our own policies, and Envoy is told the answers, block by block.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from envoy.config.core.v3 import address_pb2, base_pb2, udp_socket_config_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2, udp_listener_config_pb2
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2, udp_proxy_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.runtime_fraction.v3 import runtime_fraction_pb2
from envoy.type.v3 import percent_pb2
from xds.core.v3 import cidr_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import ip_pb2, matcher_pb2

from policies.attributes import IP_ATTRIBUTES, Asked
from policies.authorization import AuthorizationPolicy, Clause
from policies.authorizing import PreparedPolicies
from policies.head import Peer, Principal
from policies.match import Exact
from policies.traffic import PER_MILLION, Destination
from runtime.envoy.actions import UNRESOLVED
from runtime.envoy.chains import logical_port
from runtime.envoy.failure import TranslationError
from runtime.envoy.logs import access_logs
from runtime.envoy.messages import Message, extension, milliseconds, packed
from snapshot.prepared import PreparedSlice
from snapshot.section import FilterChain, Listener, PolicySet, UdpChain

LARGEST = 65_535
"""Envoy drops what is larger than it expects, by default what fits one frame of Ethernet."""
Block = ipaddress.IPv4Network | ipaddress.IPv6Network
_Proxy = udp_proxy_pb2.UdpProxyConfig
_Matcher = matcher_pb2.Matcher


def datagram_listener(prepared: PreparedSlice, section: Listener, where: tuple[str, int]) -> Message:
    """The listener of a UDP chain; raises TranslationError."""
    host, port = where
    (chain,) = section.chains
    assert isinstance(chain.network, UdpChain)
    tree = _weighted([one for one in chain.network.destinations if one.weight])
    policies = prepared.chains[section.name, chain.name].policies
    if policies is not None:
        tree = _admitted(tree, policies, list(_blocks(prepared, chain)), section)
    config = _udp_proxy(prepared, f"{section.name}|{chain.name}", chain.network, tree)
    kind = listener_components_pb2.ListenerFilter
    proxy = extension(kind, "envoy.filters.udp_listener.udp_proxy", config)
    socket = address_pb2.SocketAddress(protocol=address_pb2.SocketAddress.UDP, address=host, port_value=port)
    return listener_pb2.Listener(
        name=section.name,
        address=address_pb2.Address(socket_address=socket),
        udp_listener_config=udp_listener_config_pb2.UdpListenerConfig(downstream_socket_config=_sockets()),
        listener_filters=[proxy],
        traffic_direction=base_pb2.OUTBOUND,
    )


def _sockets() -> Message:
    return udp_socket_config_pb2.UdpSocketConfig(max_rx_datagram_size={"value": LARGEST})


def _udp_proxy(prepared: PreparedSlice, prefix: str, network: UdpChain, tree: Message) -> Message:
    clusters = (prepared.clusters.get(one.cluster) for one in network.destinations if one.weight)
    # Envoy has one set for all that a listener may choose: the first destination's, as for TCP.
    first = next((one for one in clusters if one is not None), None)
    idle_ms = (first.limits.tcp_idle_ms if first is not None else 0) or network.idle_ms
    hashed = first is not None and first.hashing is not None and first.hashing.on == "source_ip"
    return _Proxy(
        stat_prefix=prefix,
        matcher=tree,
        idle_timeout=milliseconds(idle_ms),
        upstream_socket_config=_sockets(),
        hash_policies=[_Proxy.HashPolicy(source_ip=True)] if hashed else [],
        access_log=access_logs(prepared.proxy.access_log),
    )


def _weighted(alive: Sequence[Destination]) -> Message:
    """The tree that chooses a destination. Without any it names a cluster that is not there, which drops datagrams."""
    if not alive:
        return _Matcher(on_no_match=_to(UNRESOLVED))
    left = sum(one.weight for one in alive)
    choices = []
    for number, one in enumerate(alive[:-1]):
        choices.append(_share(number, one.weight * PER_MILLION // left, one.cluster or UNRESOLVED))
        left -= one.weight
    last = _to(alive[-1].cluster or UNRESOLVED)
    if not choices:
        return _Matcher(on_no_match=last)
    return _Matcher(matcher_list=_Matcher.MatcherList(matchers=choices), on_no_match=last)


def _share(number: int, per_million: int, cluster: str) -> Message:
    """A share of the clients that come so far. The seed makes each number's hash another, or the second share would be of those alike."""
    kind = percent_pb2.FractionalPercent
    fraction = base_pb2.RuntimeFractionalPercent(
        default_value=kind(numerator=per_million, denominator=kind.MILLION), runtime_key=f"weft.udp.share.{number}"
    )
    by_hash = runtime_fraction_pb2.RuntimeFraction(runtime_fraction=fraction, seed=number + 1)
    list_ = _Matcher.MatcherList
    predicate = list_.Predicate.SinglePredicate(
        input=_typed("envoy.matching.inputs.source_port", network_inputs_pb2.SourcePortInput()),
        custom_match=_typed("envoy.matching.matchers.runtime_fraction", by_hash),
    )
    return list_.FieldMatcher(predicate=list_.Predicate(single_predicate=predicate), on_match=_to(cluster))


def _to(cluster: str) -> Message:
    return _Matcher.OnMatch(action=_typed("route", route_pb2.Route(cluster=cluster)))


def _typed(name: str, message: Message) -> Message:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))


# --- who is let in -----------------------------------------------------------------------------------------------------------


def _blocks(prepared: PreparedSlice, chain: FilterChain) -> Iterator[Block]:
    """The address blocks that a chain's policies name; raises TranslationError where they ask for the address that was called."""
    network = chain.network
    assert isinstance(network, UdpChain)
    held = prepared.sections.get(("policies", network.policies))
    policies = held.policies if isinstance(held, PolicySet) else ()
    for clause in _clauses(policies):
        if clause.attribute == "destination.ip":
            raise TranslationError("Envoy's UDP proxy cannot choose by destination.ip", chain.source)
        if clause.attribute in IP_ATTRIBUTES:
            named = (*clause.values, *clause.not_values)
            yield from (ipaddress.ip_network(one.value, strict=False) for one in named if isinstance(one, Exact))


def _clauses(policies: Sequence[AuthorizationPolicy]) -> Iterator[Clause]:
    for policy in policies:
        for rule in policy.rules:
            yield from (clause for group in (*rule.sources, *rule.operations, rule.when) for clause in group)


def _admitted(tree: Message, policies: PreparedPolicies, blocks: list[Block], section: Listener) -> Message:
    """The tree for those who are let in. Of the blocks that an address is in Envoy takes the smallest."""
    inside = _Matcher.OnMatch(matcher=tree)
    outside = _to(UNRESOLVED)
    everywhere: list[Block] = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    ranges = []
    for block in dict.fromkeys((*everywhere, *blocks)):
        free = _own(block, blocks)
        if free is None:
            continue
        peer = Peer(str(free), 1, "", logical_port(section))
        allowed = policies.evaluate(Asked(None, peer, Principal(""), edge=True)).allowed
        prefix = cidr_pb2.CidrRange(address_prefix=str(block.network_address), prefix_len={"value": block.prefixlen})
        ranges.append(ip_pb2.IPMatcher.IPRangeMatcher(ranges=[prefix], on_match=inside if allowed else outside))
    by_block = _Matcher.MatcherTree(
        input=_typed("envoy.matching.inputs.source_ip", network_inputs_pb2.SourceIPInput()),
        custom_match=_typed("envoy.matching.custom_matchers.trie_matcher", ip_pb2.IPMatcher(range_matchers=ranges)),
    )
    return _Matcher(matcher_tree=by_block, on_no_match=outside)


def _own(block: Block, blocks: list[Block]) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address of a block that is in no smaller one; None where those leave none."""
    left: list[Block] = [block]
    for inner in blocks:
        if inner.version != block.version or inner == block or not inner.subnet_of(block):  # type: ignore[arg-type]
            continue
        kept: list[Block] = []
        for part in left:
            if part.subnet_of(inner):  # type: ignore[arg-type]
                continue
            kept += part.address_exclude(inner) if inner.subnet_of(part) else [part]  # type: ignore[arg-type]
        left = kept
    return left[0].network_address if left else None
