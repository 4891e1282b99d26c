"""An origin for tests: answers every request with what it saw, as JSON. HTTP/1.1 by h11, so that it judges our codec as a stranger does."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

Reply = Callable[[h11.Request, bytes], tuple[int, list[tuple[str, str]], bytes]]


@dataclass
class Echo:
    """One running origin. ``seen`` grows with every request; ``name`` and ``namespace`` stand in every reply."""

    name: str
    namespace: str = "default"
    address: str = "127.0.0.1"
    port: int = 0
    seen: list[dict[str, object]] = field(default_factory=list)
    reply: Reply | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens on ``address`` at ``port`` (0: any), or on a Unix socket where that is a path, until cancelled."""
        if self.address.startswith("/"):
            await self._serve_unix(task_status)
            return
        listener = (await trio.open_tcp_listeners(self.port, host=self.address))[0]
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._connection, [listener], task_status=_Started(task_status))

    async def _serve_unix(self, task_status: trio.TaskStatus[None]) -> None:
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.bind(self.address)
        sock.listen()
        listener = trio.SocketListener(sock)
        await trio.serve_listeners(self._connection, [listener], task_status=_Started(task_status))

    async def _connection(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
        async with stream:
            try:
                while await self._exchange(stream, connection):
                    connection.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError, ConnectionError):
                return

    async def _exchange(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            match event:
                case h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                case h11.Request():
                    request = event
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    break
                case _:
                    return False
        assert request is not None
        status, headers, text = (self.reply or self._echo)(request, bytes(body))
        headers = [*headers, ("content-length", str(len(text)))]
        out = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        if request.method != b"HEAD":
            out += connection.send(h11.Data(data=text)) or b""
        await stream.send_all(out + (connection.send(h11.EndOfMessage()) or b""))
        return connection.our_state is h11.DONE

    def _echo(self, request: h11.Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers:
            headers.setdefault(name.decode().lower(), []).append(value.decode("latin-1"))
        seen: dict[str, object] = {
            "service": self.name,
            "namespace": self.namespace,
            "method": request.method.decode(),
            "path": request.target.decode(),
            "host": headers.get("host", [""])[0],
            "headers": headers,
            "body": body.decode("latin-1"),
        }
        self.seen.append(seen)
        return 200, [("content-type", "application/json")], json.dumps(seen).encode()


class _Started:
    """Passes on that a server started, without its listeners."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        self._task_status.started()


@asynccontextmanager
async def running(*origins: Echo) -> AsyncIterator[tuple[Echo, ...]]:
    """Runs origins for the duration of a block."""
    async with trio.open_nursery() as nursery:
        for origin in origins:
            await nursery.start(origin.serve)
        yield origins
        nursery.cancel_scope.cancel()
