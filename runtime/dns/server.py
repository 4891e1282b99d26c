"""The server: datagrams and streams on the proxy's DNS port, for the application beside it.

It listens on loopback alone, and a reply is hardly larger than what asked for it, so nobody is flooded through it. Whatever waits is bounded:
so many questions to other resolvers at once (more are answered SERVFAIL), so many connections, and so long for a client to say something.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap
from runtime.dns.answering import Answer, NameIndex, answer
from runtime.dns.forwarding import Forwarder, ForwardError
from runtime.dns.message import (
    MAX_QUERY_BYTES,
    Query,
    QueryError,
    chained_reply,
    failure,
    known_reply,
    passed_on,
    read_query,
)
from runtime.dns.message import asking as asking_for
from runtime.dns.resolv_conf import Address, ResolvConf, Resolvers, addresses
from runtime.endpoints import LiveData, endpoints_of
from runtime.telemetry import Instruments
from snapshot.live import Registry, Resolved
from snapshot.section import Cluster, NameTable

ASKING_AT_ONCE = 256
STREAMS = 128
SILENT_S = 10.0
"""How long a stream may be silent, and a reply may take to leave."""

log = logging.getLogger("weft.proxy")


class DnsProxy:
    """Owns what is answered: the index in use, the clusters that fill it, and the live data. Serves once it has sockets."""

    def __init__(self, bootstrap: Bootstrap, instruments: Instruments, *, has_ipv6: bool) -> None:
        self.index = NameIndex()
        self._instruments = instruments
        self._has_ipv6 = has_ipv6
        self._own: set[Address] = set()
        self._named = addresses(bootstrap.resolvers)
        self._file = ResolvConf(Path(bootstrap.resolv_conf))
        self._forwarder = Forwarder(self.resolvers, instruments)
        self._clusters: Mapping[str, Cluster] = {}
        self._live = LiveData(bootstrap)
        self._filled: dict[str, tuple[str, ...]] = {}
        self._asking = 0
        self._streams = 0
        self._warned = False

    # --- what is answered ----------------------------------------------------------------------------------------------------

    def prepare(self, tables: tuple[NameTable, ...]) -> NameIndex:
        """An index of a slice's names; nothing changes before ``use``."""
        return NameIndex(tables, search=self._file.resolvers().search, has_ipv6=self._has_ipv6)

    def use(self, index: NameIndex, clusters: Mapping[str, Cluster]) -> None:
        """Answers from this index from now on."""
        self.index, self._clusters = index, clusters
        self._filled.clear()

    def take_registry(self, registry: Registry) -> None:
        """Takes in the registered workloads."""
        self._live.with_registry(registry)
        self._filled.clear()

    def take_resolved(self, resolved: tuple[Resolved, ...]) -> None:
        """Takes in what names resolve to."""
        self._live.with_names(list(resolved))
        self._filled.clear()

    def addresses_in(self, cluster: str) -> tuple[str, ...]:
        """The addresses of a cluster's endpoints now."""
        found = self._filled.get(cluster)
        if found is None:
            section = self._clusters.get(cluster)
            endpoints = endpoints_of(section, self._live) if section is not None else ()
            known = (address for one in endpoints for address in (one.address, *one.others))
            found = self._filled[cluster] = tuple(
                dict.fromkeys(one for one in known if "/" not in one and one[0] != "@")
            )
        return found

    def answer(self, name: str, kind: int) -> Answer:
        """What is known of a name (lower case, without a dot at its end)."""
        return answer(self.index, name, kind, self.addresses_in)

    def resolvers(self) -> Resolvers:
        """Whom to ask for everything else: never this server itself."""
        found = self._file.resolvers()
        servers = self._named or found.servers
        return Resolvers(
            tuple(one for one in servers if one not in self._own), found.search, found.timeout_s, found.attempts
        )

    # --- serving -------------------------------------------------------------------------------------------------------------

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Serves on these sockets, of datagrams and listening ones, until cancelled; they stay open."""
        self._own = {one.getsockname()[:2] for one in sockets}
        self._asking = self._streams = 0
        async with trio.open_nursery() as nursery:
            for one in sockets:
                serve = self._serve_datagrams if one.type == socket.SOCK_DGRAM else self._serve_streams
                nursery.start_soon(serve, one)

    async def _serve_datagrams(self, bound: socket.socket) -> None:
        with trio.socket.from_stdlib_socket(bound.dup()) as sock:
            async with trio.open_nursery() as nursery:
                while True:
                    try:
                        wire, peer = await sock.recvfrom(MAX_QUERY_BYTES + 1)
                    except OSError:
                        continue  # The kernel tells of a client that did not wait for its reply.
                    asked = self._begin(wire, peer, stream=False)
                    if isinstance(asked, bytes):
                        await _send(sock, asked, peer)
                    else:
                        nursery.start_soon(self._answer_later, sock, peer, *asked)

    async def _answer_later(self, sock: trio.socket.SocketType, peer: Address, query: Query, known: Answer) -> None:
        await _send(sock, await self._finish(query, known, stream=False), peer)

    async def _serve_streams(self, bound: socket.socket) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound.dup()))
        async with listener, trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    await trio.sleep(0.1)  # Out of descriptors: other connections have to end first.
                    continue
                if self._streams >= STREAMS:
                    await stream.aclose()
                    continue
                self._streams += 1
                nursery.start_soon(self._serve_stream, stream)

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        """The queries of one client, one after the other."""
        peer = stream.socket.getpeername() if stream.socket.fileno() >= 0 else ("", 0)
        try:
            async with stream:
                while True:
                    with trio.move_on_after(SILENT_S) as silent:
                        wire = await _read_message(stream)
                    if silent.cancelled_caught or not wire:
                        return
                    asked = self._begin(wire, peer, stream=True)
                    reply = asked if isinstance(asked, bytes) else await self._finish(*asked, stream=True)
                    with trio.move_on_after(SILENT_S) as slow:
                        await stream.send_all(struct.pack("!H", len(reply)) + reply)
                    if slow.cancelled_caught or not reply:
                        return
        except (trio.BrokenResourceError, OSError):
            return
        finally:
            self._streams -= 1

    def _begin(self, wire: bytes, peer: Address, *, stream: bool) -> bytes | tuple[Query, Answer]:
        """The reply to a message, or what must be asked on for it."""
        self._instruments.add("dns_requests_total")
        try:
            query = read_query(wire, stream=stream)
        except QueryError as error:
            return error.reply
        if self._forwarder.came_back(peer):
            self._warn_of_loop(query)
            return failure(query)
        known = self.answer(query.name, query.kind)
        if not known.ask:
            return known_reply(query, known)
        if self._asking >= ASKING_AT_ONCE:
            return failure(query)
        self._asking += 1
        return query, known

    async def _finish(self, query: Query, known: Answer, *, stream: bool) -> bytes:
        """The reply with what others know. Ends what ``_begin`` began."""
        try:
            found = await self._forwarder.ask(asking_for(query, known.ask), stream=stream)
        except ForwardError:
            return failure(query)
        finally:
            self._asking -= 1
        return chained_reply(query, known, found) if known.chain else passed_on(query, found)

    def _warn_of_loop(self, query: Query) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "a query for %s that was asked on came back: leave what the proxy's group sends out of the redirection of port 53, "
                "or name `resolvers` in the bootstrap",
                query.name,
            )


async def _send(sock: trio.socket.SocketType, reply: bytes, peer: Address) -> None:
    if reply:
        try:
            await sock.sendto(reply, peer)
        except OSError:
            pass  # The client is gone, or nothing leads to it.


async def _read_message(stream: trio.SocketStream) -> bytes:
    """One message with its length before it; empty where the client has ended, or says more than any query needs."""
    head = await _read(stream, 2)
    length = struct.unpack("!H", head)[0] if head else 0
    return await _read(stream, length) if length <= MAX_QUERY_BYTES else b""


async def _read(stream: trio.SocketStream, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = await stream.receive_some(count - len(found))
        if not more:
            return b""
        found += more
    return found
