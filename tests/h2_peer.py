"""Both ends of HTTP/2 for tests, by the h2 library: a client that sees every event, and an origin that answers with what it saw."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings
import hyperframe.frame
import trio


@dataclass
class Answer:
    """What one stream of a client has got so far."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    informational: list[int] = field(default_factory=list)


class _Connection(h2.connection.H2Connection):
    """The library calls a connection closed once a GOAWAY has come; RFC 9113 section 6.8 lets the open streams end."""

    def _receive_goaway_frame(self, frame: hyperframe.frame.GoAwayFrame) -> tuple[list[object], list[object]]:
        frames, events = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return frames, events


class Client:
    """One connection with prior knowledge. ``greedy`` gives flow control back as data comes; else the windows close."""

    def __init__(self, stream: trio.abc.Stream, *, greedy: bool = True, window: int | None = None) -> None:
        self._stream = stream
        self._greedy = greedy
        self.answers: dict[int, Answer] = {}
        self.closed = False
        self.goaway: int | None = None
        self.h2 = _Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        if window is not None:
            # Replaced, not assigned to: an assignment would only be announced by a later update.
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.h2.initiate_connection()

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            await self._stream.send_all(data)

    async def request(
        self, path: str = "/", *, method: str = "GET", body: bytes | None = None, end: bool = True, **fields: str
    ) -> int:
        """Sends a request and, within the windows, its body; returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        headers = [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
        headers += [(name.replace("_", "-"), text) for name, text in fields.items()]
        self.h2.send_headers(stream, headers, end_stream=body is None and end)
        await self.flush()
        if body is not None:
            await self.send_body(stream, body, end=end)
        return stream

    async def send_body(self, stream: int, body: bytes, *, end: bool = True) -> None:
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                await self.step()
                continue
            self.h2.send_data(stream, body[:room])
            body = body[room:]
            await self.flush()
        if end:
            self.h2.end_stream(stream)
            await self.flush()

    async def step(self) -> None:
        """Takes in one piece of what comes."""
        data = await self._stream.receive_some(65536)
        if not data:
            assert not self.closed, "the connection is closed, and somebody still waits for more of it"
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self._take(event)
        await self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.last_stream_id
            return
        answer = self.answers.get(getattr(event, "stream_id", 0))
        if answer is None:
            return
        match event:
            case h2.events.InformationalResponseReceived():
                answer.informational.append(int(dict(event.headers)[":status"]))
            case h2.events.ResponseReceived():
                answer.headers = event.headers
                answer.status = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                answer.body += event.data
                if self._greedy:
                    self.acknowledge(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                answer.trailers = event.headers
            case h2.events.StreamEnded():
                answer.ended = True
            case h2.events.StreamReset():
                answer.reset = event.error_code

    def acknowledge(self, size: int, stream: int) -> None:
        """Gives the windows back."""
        self.h2.acknowledge_received_data(size, stream)

    async def answer(self, stream: int) -> Answer:
        """The whole answer on a stream, or as much as came before it, or the connection, ended."""
        answer = self.answers[stream]
        while not answer.ended and answer.reset is None and not self.closed:
            await self.step()
        return answer

    async def get(self, path: str = "/", **fields: str) -> Answer:
        return await self.answer(await self.request(path, **fields))


@asynccontextmanager
async def connected(
    port: int, *, greedy: bool = True, window: int | None = None, kind: type[Client] = Client
) -> AsyncIterator[Client]:
    """A client on a new connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        client = kind(stream, greedy=greedy, window=window)
        await client.flush()
        yield client


Script = Callable[["OriginConnection", int, dict[str, str], bytes], None]


class OriginConnection:
    """One connection of an origin; a script says what to do with each request."""

    def __init__(self, stream: trio.SocketStream, script: Script) -> None:
        self.stream = stream
        self.script = script
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.waiting: dict[int, bytes] = {}
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.trailers: dict[int, list[tuple[str, str]]] = {}

    async def serve(self) -> None:
        self.h2.initiate_connection()
        await self.stream.send_all(self.h2.data_to_send())
        while True:
            data = await self.stream.receive_some(65536)
            if not data:
                return
            for event in self.h2.receive_data(data):
                self._take(event)
            self._pump()
            await self.stream.send_all(self.h2.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self.heads[event.stream_id] = dict(event.headers)
                self.bodies[event.stream_id] = b""
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = event.headers
            case h2.events.StreamReset():
                self.waiting.pop(event.stream_id, None)
            case h2.events.StreamEnded():
                stream = event.stream_id
                self.script(self, stream, self.heads.pop(stream), self.bodies.pop(stream))

    def respond(self, stream: int, body: bytes, *, status: int = 200, **fields: str) -> None:
        headers = [(":status", str(status)), ("content-length", str(len(body))), *fields.items()]
        self.h2.send_headers(stream, headers)
        self.waiting[stream] = body

    def _pump(self) -> None:
        for stream, body in list(self.waiting.items()):
            while body and (room := min(self.h2.local_flow_control_window(stream), 16_384)) > 0:
                self.h2.send_data(stream, body[:room])
                body = body[room:]
            self.waiting[stream] = body
            if not body:
                del self.waiting[stream]
                self.h2.end_stream(stream)


def echo(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
    """Answers with what came."""
    trailers = connection.trailers.pop(stream, [])
    seen = {"head": head, "body": body.decode("latin-1"), "trailers": trailers}
    connection.respond(stream, json.dumps(seen).encode())


@dataclass
class Origin:
    """A running origin. ``connections`` counts those that were ever made."""

    script: Script = echo
    port: int = 0
    connections: int = 0
    address: str = "127.0.0.1"

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            try:
                await OriginConnection(stream, self.script).serve()
            except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
                return


@asynccontextmanager
async def serving(origin: Origin) -> AsyncIterator[Origin]:
    """Runs an origin for the duration of a block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        origin.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, origin._connection, listeners)
        yield origin
        nursery.cancel_scope.cancel()
