"""The one origin behind every cluster: it answers with what it saw, and its own address says which cluster was chosen.

Made for speed, not for judging HTTP: twenty thousand requests come through it twice.
"""

from __future__ import annotations

import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import h2.exceptions
import msgspec
import trio

from tests.differential import http2
from tests.differential.certificates import Certificates
from tests.differential.requests import DIGEST, ENGINE, KEY, STATUS

_READ = 65536
_PREFACE = b"PRI * HTTP/2.0"
_CLIENT_HELLO = b"\x16\x03"
SHADOW = "-shadow"
FAIL_AT = "x-fail-at"
"""Names the one address that answers 503."""


class Unread(trio.abc.Stream):
    """A stream of which something has been read already, and is read again."""

    def __init__(self, stream: trio.abc.Stream, received: bytes) -> None:
        self._stream = stream
        self._received = received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        received, self._received = self._received, b""
        return received or await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Copy(msgspec.Struct, frozen=True):
    """A copy of a mirrored request, as it came to an address."""

    address: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]


class Backends:
    """Listens on every address of 127.0.0.0/8 at one port, for HTTP/1.1 and HTTP/2, plain or inside TLS.

    ``attempts`` counts requests by their key, ``copies`` has what came of a mirrored request. Without ``certificates`` it does no TLS.
    """

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.port = 0
        self.certificates = certificates
        self.attempts: Counter[str] = Counter()
        self.copies: dict[str, list[Copy]] = {}
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
        here, heard = plain.socket.getsockname()[0], ""
        stream: trio.abc.Stream = plain
        try:
            received = await stream.receive_some(_READ)
            # Bytes that pass through a proxy's own TLS may be a TLS of the client's.
            while received.startswith(_CLIENT_HELLO) and self.certificates is not None:
                outer = Unread(stream, received)
                stream = inside = trio.SSLStream(
                    outer, self.certificates.context, server_side=True, https_compatible=True
                )
                await inside.do_handshake()
                heard = f"{heard} {self.certificates.heard(inside)}".strip()
                received = await stream.receive_some(_READ)
            respond = partial(self._respond, here, heard)
            async with stream:
                if received.startswith(_PREFACE):
                    await http2.serve(stream, received, respond)
                else:
                    await self._http1(stream, respond, received)
        except (trio.BrokenResourceError, OSError, ssl.SSLError, h2.exceptions.ProtocolError):
            await trio.aclose_forcefully(stream)

    async def _http1(self, stream: trio.abc.Stream, respond: http2.Respond, received: bytes) -> None:
        while True:
            while b"\r\n\r\n" not in received:
                more = await stream.receive_some(_READ)
                if not more:
                    return
                received += more
            head, _, received = received.partition(b"\r\n\r\n")
            received = await _skip_body(stream, head, received)
            line, *fields = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            pairs = [(name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
            status, headers, body = respond(method, target, pairs)
            upgrading = dict(pairs).get("upgrade") == "websocket" and status == "200"
            if upgrading:
                framing = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", DIGEST)]
                status = "101"
            else:
                framing = [("content-length", str(len(body)))]
            top = "".join(f"{name}: {value}\r\n" for name, value in (*headers, *framing))
            end = b"\n" if upgrading else b""
            await stream.send_all(f"HTTP/1.1 {status} X\r\n{top}\r\n".encode("latin-1") + body + end)
            if upgrading:
                await _echo(stream, received)
                return

    def _respond(
        self, here: str, heard: str, method: str, target: str, pairs: list[tuple[str, str]]
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        said = dict(pairs)
        if said.get("host", "").endswith(SHADOW) or f"{SHADOW}:" in said.get("host", ""):
            copy = Copy(here, method, target, tuple(pairs))
            self.copies.setdefault(f"{said.get(KEY)}/{said.get(ENGINE)}", []).append(copy)
            self._came.set()
            return "200", [], b""
        self.attempts[said.get(KEY, "")] += 1
        seen = {"backend": here, "method": method, "target": target, "headers": pairs}
        body = b"" if method == "HEAD" else json.dumps(seen).encode()
        # A reply to HEAD cannot show what was seen in its body.
        headers = [("content-type", "application/json"), ("x-seen", f"{here} {method} {target}")]
        headers += [("x-seen-tls", heard)] if heard else []
        headers += [(name[7:], value) for name, value in pairs if name.startswith("x-give-")]
        status = "503" if said.get(FAIL_AT) == here else said.get(STATUS, "200")
        return status, headers, body


async def _echo(stream: trio.abc.Stream, received: bytes) -> None:
    """What a WebSocket's other end does here: bytes come back, until the client has sent all."""
    while received or (received := await stream.receive_some(_READ)):
        await stream.send_all(received)
        received = b""


async def _skip_body(stream: trio.abc.Stream, head: bytes, received: bytes) -> bytes:
    lowered = head.lower()
    if b"\r\ntransfer-encoding:" in lowered:
        while b"0\r\n\r\n" not in received:
            received += await stream.receive_some(_READ)
        return received.partition(b"0\r\n\r\n")[2]
    _, found, rest = lowered.partition(b"\r\ncontent-length:")
    size = int(rest.partition(b"\r\n")[0]) if found else 0
    while len(received) < size:
        received += await stream.receive_some(_READ)
    return received[size:]


@asynccontextmanager
async def serving(certificates: Certificates | None = None) -> AsyncIterator[Backends]:
    """Runs the origin for the duration of a block."""
    backends = Backends(certificates)
    async with trio.open_nursery() as nursery:
        await nursery.start(backends.serve)
        yield backends
        nursery.cancel_scope.cancel()
