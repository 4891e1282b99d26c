"""One keep-alive HTTP/1.1 connection of a load generator or an observer: small, strict about what it gets back, and pessimistic.

Any surprise (a connection refused or closed, a reply that is not understood, one that comes too late) is a failed request. Nothing is tried again.
"""

from __future__ import annotations

import msgspec
import trio

REPLY_S = 10.0
MAX_REPLY_BYTES = 1_048_576


class BadReplyError(Exception):
    """What came back is no reply to the request."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One reply: status, headers (names lower-case, several values of one name joined by commas) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """One connection to one address, opened when first needed and again after a failure."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._stream: trio.SocketStream | None = None
        self._buffer = bytearray()

    async def get(self, host: str, path: str, headers: str = "") -> Reply:
        """One GET; raises OSError, trio.BrokenResourceError, trio.TooSlowError or BadReplyError."""
        try:
            with trio.fail_after(REPLY_S):
                if self._stream is None:
                    self._stream = await trio.open_tcp_stream(*self._address)
                    self._buffer.clear()
                request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: weft-local\r\n{headers}\r\n"
                await self._stream.send_all(request.encode())
                reply = await self._reply(self._stream)
        except BaseException:
            await self.close()
            raise
        if reply.headers.get("connection") == "close":
            await self.close()
        return reply

    async def close(self) -> None:
        """Closes the connection, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _reply(self, stream: trio.SocketStream) -> Reply:
        end = await self._until(stream, b"\r\n\r\n")
        status, headers = _head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if headers.get("transfer-encoding") == "chunked":
            return Reply(status, headers, await self._chunks(stream))
        length = headers.get("content-length", "")
        if not length.isdigit():
            raise BadReplyError("a reply without a length")
        return Reply(status, headers, await self._exactly(stream, int(length)))

    async def _chunks(self, stream: trio.SocketStream) -> bytes:
        body = b""
        while True:
            end = await self._until(stream, b"\r\n")
            size = int(self._buffer[:end].partition(b";")[0], 16)
            del self._buffer[: end + 2]
            piece = await self._exactly(stream, size + 2)
            if size == 0:
                return body
            body += piece[:-2]

    async def _exactly(self, stream: trio.SocketStream, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more(stream)
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    async def _until(self, stream: trio.SocketStream, mark: bytes) -> int:
        while (found := self._buffer.find(mark)) < 0:
            await self._more(stream)
        return found

    async def _more(self, stream: trio.SocketStream) -> None:
        got = await stream.receive_some(65_536)
        if not got:
            raise BadReplyError("the connection was closed before the reply was complete")
        self._buffer += got
        if len(self._buffer) > MAX_REPLY_BYTES:
            raise BadReplyError("the reply is too large")


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise BadReplyError(f"not a status line: {first[:60]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return int(parts[1]), headers
