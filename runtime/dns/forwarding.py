"""The client of the machine's resolvers: every query goes out under an id and from a port of chance, and only its own reply comes back.

Resolvers are asked one after the other, as the C library does: the next one where one is silent, unreachable, or says that it cannot answer.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import trio

from runtime.dns.message import MAX_MESSAGE_BYTES, answers, is_failure, is_truncated, with_id
from runtime.dns.resolv_conf import Address, Resolvers
from runtime.telemetry import Instruments

ASK_S = 10.0
"""How long a question is pursued in all."""

STRANGERS = 32
"""So many datagrams that are no reply to a query are read while it waits; then somebody tries to guess its reply."""


class ForwardError(Exception):
    """Nobody has answered."""


class Forwarder:
    """Owns nothing but the sockets of questions under way. ``resolvers`` says whom to ask now."""

    def __init__(self, resolvers: Callable[[], Resolvers], instruments: Instruments) -> None:
        self._resolvers = resolvers
        self._instruments = instruments
        self._asking: set[Address] = set()
        self._came_back: set[Address] = set()

    def came_back(self, peer: Address) -> bool:
        """Whether a query that came from there is one of our own, which the kernel has led back here. It is then asked again from another port:
        for half a minute after an application's query the kernel remembers its port as one that is redirected."""
        own = peer[:2] in self._asking
        if own:
            self._came_back.add(peer[:2])
        return own

    async def ask(self, wire: bytes, *, stream: bool) -> bytes:
        """The reply to a query, over the transport that it came by; raises ForwardError."""
        self._instruments.add("dns_upstream_requests_total")
        begin = trio.current_time()
        reply = b""
        with trio.move_on_after(ASK_S):
            reply = await self._ask_all(wire, stream=stream)
        self._instruments.observe("dns_upstream_request_duration_seconds", trio.current_time() - begin)
        if not reply:
            self._instruments.add("dns_upstream_failures_total")
            raise ForwardError("no resolver has answered")
        return reply

    async def _ask_all(self, wire: bytes, *, stream: bool) -> bytes:
        """The first reply that is one, else what somebody said who could not answer; empty where all were silent, or there are none."""
        resolvers = self._resolvers()
        refusal = b""
        for _ in range(resolvers.attempts):
            for server in resolvers.servers:
                reply = b""
                with trio.move_on_after(resolvers.timeout_s):
                    reply = await self._ask_one(wire, server, stream=stream)
                if reply and not is_failure(reply):
                    return reply
                refusal = reply or refusal
            if refusal:
                # All who answered have said that they cannot: asking them again changes nothing.
                break
        return refusal

    async def _ask_one(self, wire: bytes, server: Address, *, stream: bool) -> bytes:
        """One server's reply, empty where there is none to be had."""
        asked = with_id(wire, secrets.randbelow(65_536))
        try:
            if stream:
                return await self._over_tcp(asked, server)
            reply = await self._over_udp(asked, server)
            if reply and is_truncated(reply):
                with trio.move_on_after(self._resolvers().timeout_s):
                    return await self._over_tcp(asked, server) or reply
        except OSError:
            return b""
        return reply

    async def _over_udp(self, asked: bytes, server: Address) -> bytes:
        with _socket_to(server, socket.SOCK_DGRAM) as sock:
            # Connected, so that only this server's datagrams come in, and from a free port that the kernel draws.
            await sock.connect(_numeric(server, socket.SOCK_DGRAM))
            with self._known_as(sock) as own:
                await sock.send(asked)
                for _ in range(STRANGERS):
                    reply = await sock.recv(MAX_MESSAGE_BYTES)
                    if answers(reply, asked):
                        return b"" if own in self._came_back else reply
        return b""

    async def _over_tcp(self, asked: bytes, server: Address) -> bytes:
        with _socket_to(server, socket.SOCK_STREAM) as sock:
            await sock.connect(_numeric(server, socket.SOCK_STREAM))
            with self._known_as(sock) as own:
                stream = trio.SocketStream(sock)
                try:
                    await stream.send_all(struct.pack("!H", len(asked)) + asked)
                    (length,) = struct.unpack("!H", await _exactly(stream, 2) or b"\x00\x00")
                    reply = await _exactly(stream, length)
                except trio.BrokenResourceError:
                    return b""
                return reply if answers(reply, asked) and own not in self._came_back else b""

    @contextmanager
    def _known_as(self, sock: trio.socket.SocketType) -> Iterator[Address]:
        """Knows a connected socket's own address as long as it asks."""
        own: Address = sock.getsockname()[:2]
        self._asking.add(own)
        try:
            yield own
        finally:
            self._asking.discard(own)
            self._came_back.discard(own)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    """So many bytes; none where the stream ends before."""
    found = b""
    while len(found) < count:
        more = await stream.receive_some(count - len(found))
        if not more:
            return b""
        found += more
    return found


def _socket_to(server: Address, kind: socket.SocketKind) -> trio.socket.SocketType:
    return trio.socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind)


def _numeric(server: Address, kind: socket.SocketKind) -> tuple[str | int, ...]:
    """The address as the kernel takes it, with the scope of a link's own address."""
    rows = socket.getaddrinfo(*server, type=kind, flags=socket.AI_NUMERICHOST)
    return cast("tuple[str | int, ...]", rows[0][4])
