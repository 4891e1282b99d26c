"""A client that says exactly what it is told, and keeps its connections."""

from __future__ import annotations

import ssl

import msgspec
import trio

from tests.differential.requests import Request

REPLY_S = 10.0


class Answer(msgspec.Struct, frozen=True):
    """A reply; status 0 means that the connection was closed instead."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


CLOSED = Answer(0)


class Client:
    """One kept connection to one listener of one engine; opened anew where it was closed."""

    def __init__(self, port: int, context: ssl.SSLContext | None, server_name: str | None) -> None:
        self._port = port
        self._context = context
        self._server_name = server_name
        self._stream: trio.abc.Stream | None = None

    async def send(self, request: Request | bytes) -> Answer:
        """Sends one request and reads its reply. A kept connection that turns out to be closed is replaced once."""
        data = request if isinstance(request, bytes) else request.encode()
        head = data.startswith(b"HEAD ")
        with trio.move_on_after(REPLY_S):
            for kept in (self._stream is not None, False):
                try:
                    stream = self._stream = self._stream or await self._open()
                    await stream.send_all(data)
                    answer, keep = await _read(stream, head=head)
                except (OSError, trio.BrokenResourceError, ssl.SSLError):
                    answer, keep = CLOSED, False
                if not keep:
                    await self.close()
                if answer.status or not kept:
                    return answer
        await self.close()
        return Answer(-1)

    async def _open(self) -> trio.abc.Stream:
        plain = await trio.open_tcp_stream("127.0.0.1", self._port)
        if self._context is None:
            return plain
        stream = trio.SSLStream(plain, self._context, server_hostname=self._server_name, https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(plain)
            raise
        return stream

    async def close(self) -> None:
        """Lets the connection go."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def _read(stream: trio.abc.Stream, *, head: bool) -> tuple[Answer, bool]:
    received = b""
    while b"\r\n\r\n" not in received:
        more = await stream.receive_some(65536)
        if not more:
            return CLOSED, False
        received += more
    top, _, rest = received.partition(b"\r\n\r\n")
    line, *fields = top.decode("latin-1").split("\r\n")
    headers = tuple((name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields))
    status = int(line.split(" ")[1])
    said = dict(headers)
    keep = said.get("connection", "").lower() != "close"
    if head or status in (204, 304):
        return Answer(status, headers), keep
    if status == 101:
        return Answer(status, headers, await _spoken(stream, rest)), False
    if said.get("transfer-encoding") == "chunked":
        while not rest.endswith(b"0\r\n\r\n"):
            rest += await stream.receive_some(65536)
        return Answer(status, headers, _dechunked(rest)), keep
    size = int(said.get("content-length", "0"))
    while len(rest) < size:
        more = await stream.receive_some(65536)
        if not more:
            return Answer(status, headers, b"cut off"), False
        rest += more
    return Answer(status, headers, rest), keep


async def _spoken(stream: trio.abc.Stream, rest: bytes) -> bytes:
    """What the far end of a WebSocket said first, where it also echoes what it is told."""
    while not rest.endswith(b"\n"):
        more = await stream.receive_some(65536)
        if not more:
            return b"cut off"
        rest += more
    await stream.send_all(b"ping")
    echoed = b""
    while len(echoed) < 4:
        more = await stream.receive_some(65536)
        if not more:
            return b"not echoed"
        echoed += more
    return rest if echoed == b"ping" else echoed


def _dechunked(rest: bytes) -> bytes:
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body
