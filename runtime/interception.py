"""Transparent interception: the kernel redirects connections to two ports of ours, and still knows where each was going.

    15006, inbound   by the port that was asked for: the workload's listener for it, else the one for undeclared ports; then on to the address
                     that the client meant
    15001, outbound  by address and port: the service with this address; else by port: HTTP by its Host; else where it was going anyway

Rules of nftables (or iptables) with ``redirect`` do the first part; they must leave alone what the proxy itself sends, for example by its group.
A connection that nobody redirected has no such destination: on 15001 it is the explicit proxy's, on 15006 it is refused. So is one that was
redirected on its way to one of these ports: it could only come back.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec

from policies.source import SourceRef
from policies.traffic import Destination
from runtime.bootstrap import Bootstrap
from snapshot.prepared import PreparedSlice, prepare_chain
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    FilterChain,
    HttpChain,
    Listener,
    OriginalDestination,
    RouteTable,
    ServicePort,
    TcpChain,
    UndeclaredPort,
    WorkloadPort,
)

_SO_ORIGINAL_DST = 80
"""Of netfilter, for both families; sockets' own constants do not have it."""
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_SO_MARK = 36
MARK = 1337
"""Of connections to the application that bear a client's address: by it rules bring the answers back here (Istio's)."""

OUTBOUND = "virtualOutbound"
PASSTHROUGH = "PassthroughCluster"
INBOUND_SOURCES = ("127.0.0.6", "::6")
"""From where the application is called that a client meant; rules leave such connections alone (Istio's addresses)."""

_ANY = "0.0.0.0"  # noqa: S104  what is said, not what is bound
Target = tuple[str, int]


def original_destination(sock: socket.socket) -> Target | None:
    """Where a redirected connection was going; None for one that was going to us."""
    try:
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
            found = str(ipaddress.IPv6Address(raw[8:24])), struct.unpack_from("!H", raw, 2)[0]
        else:
            raw = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            found = socket.inet_ntoa(raw[4:8]), struct.unpack_from("!H", raw, 2)[0]
    except OSError:
        return None
    return None if found == sock.getsockname()[:2] else found


def make_transparent(sock: socket.socket, *, mark: int = 0) -> None:
    """Lets a socket have addresses that are not this machine's, and marks what it sends; raises OSError without CAP_NET_ADMIN."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)


def redirected_to(bootstrap: Bootstrap) -> dict[str, list[Target]]:
    """The addresses that the kernel redirects to, by direction; none where nothing is intercepted.

    Outbound connections of this machine arrive on loopback, inbound ones on the address that they came to.
    """
    if bootstrap.interception == "none":
        return {}
    six = _has_ipv6()
    inbound = [(host, bootstrap.ports.inbound) for host in ("0.0.0.0", *(("::",) if six else ()))]  # noqa: S104  any address
    outbound = [("::1", bootstrap.ports.outbound)] if six else []
    return {"inbound": inbound, "outbound": outbound}


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/net/if_inet6").read_text())
    except OSError:
        return False


@cache
def inbound_sources() -> tuple[str, ...]:
    """Those of INBOUND_SOURCES that this machine can call from: ``::6`` only where somebody gave it to an interface."""
    four, six = INBOUND_SOURCES
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((six, 0))
    except OSError:
        return (four,)
    return (four, six)


def inbound_source(address: str) -> str:
    """From where an application at this address is called; "" leaves it to the kernel."""
    six = ":" in address
    return next((one for one in inbound_sources() if (":" in one) == six), "")


class Interception:
    """Who takes a redirected connection, by where it was going. Made once per generation."""

    def __init__(self, prepared: PreparedSlice, bootstrap: Bootstrap) -> None:
        self._own = (bootstrap.ports.inbound, bootstrap.ports.outbound)
        self._transparent = bootstrap.interception == "tproxy"
        self._inbound: dict[int, str] = {}
        self._outbound: dict[Target, str] = {}
        self._networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int, str]] = []
        self._by_port: dict[int, str] = {}
        for listener in prepared.listeners.values():
            match listener.bind:
                case WorkloadPort(port) | UndeclaredPort(port):
                    self._inbound.setdefault(port, listener.name)
                case ServicePort("", port):
                    self._by_port[port] = listener.name
                case ServicePort(_, port):
                    self._add(listener, port)
                case _:
                    pass
        # The smallest block that an address is in decides, as routes do.
        self._networks.sort(key=lambda one: -one[0].prefixlen)

    def _add(self, listener: Listener, port: int) -> None:
        for address in listener.addresses:
            if "/" in address:
                self._networks.append((ipaddress.ip_network(address, strict=False), port, listener.name))
            else:
                self._outbound.setdefault((address, port), listener.name)

    def target(self, direction: str, sock: socket.socket) -> Target | None:
        """Where an accepted connection was going; None for one that was going to us."""
        if not self._transparent or direction != "inbound":
            return original_destination(sock)
        host, port, *_ = sock.getsockname()
        return (host, port) if port != self._own[0] else None

    def find(self, direction: str, target: Target) -> str:
        """The name of the listener, "" where nobody takes it."""
        address, port = target
        if port in self._own:
            return ""
        if direction == "inbound":
            return self._inbound.get(port) or self._inbound.get(0, "")
        found = self._outbound.get(target)
        if found is None and self._networks:
            going = ipaddress.ip_address(address)
            found = next((name for network, at, name in self._networks if at == port and going in network), None)
        return found or self._by_port.get(port) or self._by_port.get(0, "")


def intercepting(prepared: PreparedSlice) -> PreparedSlice:
    """The slice with a listener for each port that only the kernel's redirection leads to: HTTP finds its way by Host, other bytes go where
    they were going, or nowhere, as the slice's policy for unknown destinations has it. The one for port 0 takes all other ports.

    An application of which no Sidecar says where it listens is called where the client meant.
    """
    own = prepared.tables.get(OUTBOUND)
    if own is None:
        return prepared
    made = by_port(own.section, [table.section for table in prepared.tables_by_port.values()])
    listeners = {**prepared.listeners, **{one.name: one for one in made}}
    chains = dict(prepared.chains)
    for listener in made:
        for chain in listener.chains:
            chains[listener.name, chain.name] = prepare_chain(
                listener, chain, prepared.tables, prepared.policies, prepared.tokens
            )
    clusters = called_where_meant(prepared.clusters, prepared.listeners.values())
    return msgspec.structs.replace(prepared, listeners=listeners, chains=chains, clusters=clusters)


def by_port(own: RouteTable, tables: Iterable[RouteTable]) -> list[Listener]:
    """The listeners of ``intercepting``: for all ports, from the explicit proxy's own table, and for the ports of the others."""
    source, anywhere = own.source, own.unmatched == PASSTHROUGH
    return [
        _listener(0, own.name, source, anywhere=anywhere),
        *(_listener(table.port, table.name, source, anywhere=anywhere) for table in tables if table.port),
    ]


def led_from(listener: Listener, bootstrap: Bootstrap) -> list[Target]:
    """Where connections go that are led to a listener which is bound nowhere: addresses and ports, 0.0.0.0 for any; blocks as they are written.
    What comes in has arrived at our own port by then."""
    if bootstrap.interception == "none":
        return []
    match listener.bind:
        case WorkloadPort() | UndeclaredPort():
            return [(_ANY, bootstrap.ports.inbound)]
        case ServicePort("", 0):
            return [(_ANY, bootstrap.ports.outbound)]
        case ServicePort("", port):
            return [(_ANY, port)]
        case ServicePort(_, port):
            return [(address, port) for address in listener.addresses]
        case _:
            return []


def called_where_meant(clusters: Mapping[str, Cluster], listeners: Iterable[Listener]) -> dict[str, Cluster]:
    """Clusters by name, those of applications as they are where connections to their listeners are redirected."""
    redirected = {f"{one.name}||" for one in listeners if isinstance(one.bind, WorkloadPort)}
    return {name: _meant(one) if name in redirected else one for name, one in clusters.items()}


def _meant(cluster: Cluster) -> Cluster:
    source = cluster.endpoints
    if not isinstance(source, ApplicationEndpoint) or source != ApplicationEndpoint(source.port):
        return cluster
    return msgspec.structs.replace(cluster, endpoints=OriginalDestination(inbound=True))


def _listener(port: int, table: str, source: SourceRef, *, anywhere: bool) -> Listener:
    onward = (Destination(PASSTHROUGH),) if anywhere else ()
    chains = (
        FilterChain("http", source, HttpChain(table)),
        FilterChain("tcp", source, TcpChain(onward, source)),
    )
    return Listener(f"intercepted|{port}", source, "outbound", ServicePort("", port), "auto", chains)
