"""The one origin behind every cluster: it answers with what it saw, and its own address says which cluster was chosen.

Made for speed, not for judging HTTP: twenty thousand requests come through it twice.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.exceptions
import trio

from tests.differential import http2
from tests.differential.requests import ENGINE, KEY, STATUS

_PREFACE = b"PRI * HTTP/2.0"
_CLIENT_HELLO = b"\x16\x03"
SHADOW = "-shadow"
FAIL_AT = "x-fail-at"
"""Names the one address that answers 503."""


class Backends:
    """Listens on every address of 127.0.0.0/8 at one port, for HTTP/1.1 and HTTP/2, plain or inside TLS.

    ``attempts`` counts requests by their key, ``copies`` has the addresses that a mirrored request came to.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.context = context
        self.attempts: Counter[str] = Counter()
        self.copies: dict[str, list[str]] = {}
        self._came = trio.Event()

    async def wait_copies(self, enough: Callable[[], bool], within_s: float) -> None:
        """Waits until the copies that have come are enough, no longer than that."""
        with trio.move_on_after(within_s):
            while not enough():
                self._came = trio.Event()
                await self._came.wait()

    def address(self, number: int) -> str:
        """The address of the backend with this number."""
        return f"127.88.{number // 250}.{number % 250 + 1}"

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="0.0.0.0")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._connection, listeners)
            task_status.started()

    async def _connection(self, plain: trio.SocketStream) -> None:
        here = plain.socket.getsockname()[0]
        stream: trio.abc.Stream = plain
        try:
            first = await _peeked(plain)
            if first.startswith(_CLIENT_HELLO) and self.context is not None:
                stream = trio.SSLStream(plain, self.context, server_side=True, https_compatible=True)
            async with stream:
                received = await stream.receive_some(65536)
                if received.startswith(_PREFACE):
                    await http2.serve(stream, received, lambda *asked: self._respond(here, *asked))
                else:
                    await self._http1(stream, here, received)
        except (trio.BrokenResourceError, OSError, h2.exceptions.ProtocolError):
            return

    async def _http1(self, stream: trio.abc.Stream, here: str, received: bytes) -> None:
        while True:
            while b"\r\n\r\n" not in received:
                more = await stream.receive_some(65536)
                if not more:
                    return
                received += more
            head, _, received = received.partition(b"\r\n\r\n")
            received = await _skip_body(stream, head, received)
            line, *fields = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            pairs = [(name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
            status, headers, body = self._respond(here, method, target, pairs)
            headers.append(("content-length", str(len(body))))
            top = "".join(f"{name}: {value}\r\n" for name, value in headers)
            await stream.send_all(f"HTTP/1.1 {status} X\r\n{top}\r\n".encode("latin-1") + body)

    def _respond(
        self, here: str, method: str, target: str, pairs: list[tuple[str, str]]
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        said = dict(pairs)
        if said.get("host", "").endswith(SHADOW) or f"{SHADOW}:" in said.get("host", ""):
            self.copies.setdefault(f"{said.get(KEY)}/{said.get(ENGINE)}", []).append(here)
            self._came.set()
            return "200", [], b""
        self.attempts[said.get(KEY, "")] += 1
        seen = {"backend": here, "method": method, "target": target, "headers": pairs}
        body = b"" if method == "HEAD" else json.dumps(seen).encode()
        # A reply to HEAD cannot show what was seen in its body.
        headers = [("content-type", "application/json"), ("x-seen", f"{here} {method} {target}")]
        headers += [(name[7:], value) for name, value in pairs if name.startswith("x-give-")]
        status = "503" if said.get(FAIL_AT) == here else said.get(STATUS, "200")
        return status, headers, body


async def _peeked(stream: trio.SocketStream) -> bytes:
    """The first bytes of a connection, left where they are."""
    await trio.lowlevel.wait_readable(stream.socket)
    return await stream.socket.recv(16, socket.MSG_PEEK)


async def _skip_body(stream: trio.abc.Stream, head: bytes, received: bytes) -> bytes:
    lowered = head.lower()
    if b"\r\ntransfer-encoding:" in lowered:
        while b"0\r\n\r\n" not in received:
            received += await stream.receive_some(65536)
        return received.partition(b"0\r\n\r\n")[2]
    _, found, rest = lowered.partition(b"\r\ncontent-length:")
    size = int(rest.partition(b"\r\n")[0]) if found else 0
    while len(received) < size:
        received += await stream.receive_some(65536)
    return received[size:]


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Backends]:
    """Runs the origin for the duration of a block; ``context`` is what it does TLS with."""
    backends = Backends(context)
    async with trio.open_nursery() as nursery:
        await nursery.start(backends.serve)
        yield backends
        nursery.cancel_scope.cancel()
