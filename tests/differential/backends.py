"""The one origin behind every cluster: it answers with what it saw, and its own address says which cluster was chosen.

Made for speed, not for judging HTTP: twenty thousand requests come through it twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

STATUS = "x-reply-status"
KEY = "x-differential-key"
FAIL_AT = "x-fail-at"
"""Names the one address that answers 503."""


class Backends:
    """Listens on every address of 127.0.0.0/8 at one port. ``attempts`` counts requests by their key."""

    def __init__(self) -> None:
        self.port = 0
        self.attempts: Counter[str] = Counter()

    def address(self, number: int) -> str:
        """The address of the backend with this number."""
        return f"127.88.{number // 250}.{number % 250 + 1}"

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="0.0.0.0")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._connection, listeners)
            task_status.started()

    async def _connection(self, stream: trio.SocketStream) -> None:
        here = stream.socket.getsockname()[0]
        received = b""
        async with stream:
            try:
                while True:
                    while b"\r\n\r\n" not in received:
                        more = await stream.receive_some(65536)
                        if not more:
                            return
                        received += more
                    head, _, received = received.partition(b"\r\n\r\n")
                    received = await _skip_body(stream, head, received)
                    await stream.send_all(self._reply(here, head))
            except (trio.BrokenResourceError, ConnectionError):
                return

    def _reply(self, here: str, head: bytes) -> bytes:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = [(name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        said = dict(pairs)
        self.attempts[said.get(KEY, "")] += 1
        status = "503" if said.get(FAIL_AT) == here else said.get(STATUS, "200")
        seen = {"backend": here, "method": method, "target": target, "headers": pairs}
        body = b"" if method == "HEAD" else json.dumps(seen).encode()
        more = "".join(f"{name[7:]}: {value}\r\n" for name, value in pairs if name.startswith("x-give-"))
        top = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        # A reply to HEAD cannot show what was seen in its body.
        return f"{top}x-seen: {here} {method} {target}\r\n{more}\r\n".encode("latin-1") + body


async def _skip_body(stream: trio.SocketStream, head: bytes, received: bytes) -> bytes:
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
async def serving() -> AsyncIterator[Backends]:
    """Runs the origin for the duration of a block."""
    backends = Backends()
    async with trio.open_nursery() as nursery:
        await nursery.start(backends.serve)
        yield backends
        nursery.cancel_scope.cancel()
