"""Both ends of a WebSocket for tests, by the websockets library: over HTTP/1 with its handshake, over a stream of HTTP/2 without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Protocol, Side
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.h2_peer import Answer, Client


class Http2Tunnel:
    """A stream of an HTTP/2 client as a byte stream."""

    def __init__(self, client: Client, stream: int) -> None:
        self._client = client
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        await self._client.send_body(self._stream, data, end=False)

    async def receive_some(self) -> bytes:
        answer = self._client.answers[self._stream]
        while not answer.body and not answer.ended and answer.reset is None:
            await self._client.step()
        data, answer.body = answer.body, b""
        return data


class Talker:
    """One end: a protocol of the library on a byte stream. ``frames`` has what came and was not asked for yet."""

    def __init__(self, protocol: Protocol, stream: trio.abc.Stream | Http2Tunnel) -> None:
        self.protocol = protocol
        self.stream = stream
        self.frames: list[Frame] = []
        self.over = False

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    async def step(self) -> None:
        data = await self.stream.receive_some()
        if data:
            self.protocol.receive_data(data)
        elif not self.over:
            self.over = True
            self.protocol.receive_eof()
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        await self.flush()

    async def hear(self) -> Frame:
        """The next frame; raises EOFError where the stream ends before one."""
        while not self.frames:
            if self.over:
                raise EOFError
            await self.step()
        return self.frames.pop(0)

    async def message(self) -> bytes:
        """The next message, put together from its frames."""
        data = b""
        while True:
            frame = await self.hear()
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                data += frame.data
                if frame.fin:
                    return data

    async def say(self, text: bytes) -> None:
        self.protocol.send_text(text)
        await self.flush()


@asynccontextmanager
async def over_http1(port: int, path: str = "/ws", *, host: str = "a.test") -> AsyncIterator[Talker]:
    """A client on a new connection; the library checks the server's proof. Raises what the handshake raised."""
    protocol = ClientProtocol(parse_uri(f"ws://{host}{path}"), max_size=1 << 24)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        talker = Talker(protocol, stream)
        protocol.send_request(protocol.connect())
        await talker.flush()
        while protocol.state is not OPEN and protocol.handshake_exc is None:
            protocol.receive_data(await stream.receive_some())
            for event in protocol.events_received():
                if isinstance(event, Frame):
                    talker.frames.append(event)
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        yield talker


async def ask_over_http2(client: Client, path: str = "/ws", **more: str) -> tuple[int, Answer]:
    """Extended CONNECT (RFC 8441): the stream, and its answer as soon as there is a head."""
    while not client.h2.remote_settings.enable_connect_protocol:
        await client.step()
    stream = client.h2.get_next_available_stream_id()
    answer = client.answers[stream] = Answer()
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path)]
    fields = [(":authority", "a.test"), ("sec-websocket-version", "13"), ("origin", "http://a.test")]
    fields += [(name.replace("_", "-"), value) for name, value in more.items()]
    client.h2.send_headers(stream, head + fields)
    await client.flush()
    while not answer.status and answer.reset is None and not client.closed:
        await client.step()
    return stream, answer


async def over_http2(client: Client, path: str = "/ws", **more: str) -> Talker:
    """A client on a stream of its own."""
    stream, answer = await ask_over_http2(client, path, **more)
    assert answer.status == 200, answer
    return Talker(Protocol(Side.CLIENT, state=OPEN, max_size=1 << 24), Http2Tunnel(client, stream))


@dataclass
class Origin:
    """A server that says every message back, over HTTP/1 or HTTP/2. ``closed`` are the close codes that it got."""

    http2: bool = False
    refuses: bool = False
    offers: bool = True
    port: int = 0
    paths: list[str] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    async def connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await (Http2Connection(self, stream).serve() if self.http2 else self._http1(stream))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _http1(self, stream: trio.SocketStream) -> None:
        protocol = ServerProtocol(max_size=1 << 24)
        while True:
            data = await stream.receive_some()
            if not data:
                return
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    self.paths.append(event.path)
                    protocol.send_response(self._answer(protocol, event))
                elif isinstance(event, Frame):
                    say_back(protocol, event)
            for out in protocol.data_to_send():
                if out:
                    await stream.send_all(out)
            if protocol.close_expected():
                self.closed.append(close_code(protocol))
                return

    def _answer(self, protocol: ServerProtocol, request: Request) -> Response:
        return protocol.reject(403, "no\n") if self.refuses else protocol.accept(request)


def close_code(protocol: Protocol) -> int:
    """The code of the close frame that came, 0 without one."""
    return protocol.close_rcvd.code if protocol.close_rcvd is not None else 0


def say_back(protocol: Protocol, frame: Frame) -> None:
    """Echoes data frame by frame; the library answers control frames by itself."""
    if frame.opcode is Opcode.TEXT:
        protocol.send_text(frame.data, fin=frame.fin)
    elif frame.opcode is Opcode.CONT:
        protocol.send_continuation(frame.data, fin=frame.fin)


class Http2Connection:
    """One connection of an HTTP/2 origin that takes extended CONNECT."""

    def __init__(self, origin: Origin, stream: trio.SocketStream) -> None:
        self.origin = origin
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        offered = {code: 1} if origin.offers else {}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=offered)
        self.protocols: dict[int, Protocol] = {}
        self.waiting: dict[int, bytes] = {}
        self.ended: set[int] = set()

    async def serve(self) -> None:
        self.h2.initiate_connection()
        await self.stream.send_all(self.h2.data_to_send())
        while data := await self.stream.receive_some():
            for event in self.h2.receive_data(data):
                self._take(event)
            for number, protocol in self.protocols.items():
                self._speak(number, protocol)
            await self.stream.send_all(self.h2.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            head = dict(event.headers)
            self.origin.paths.append(head[":path"])
            assert (head[":method"], head[":protocol"]) == ("CONNECT", "websocket")
            self.h2.send_headers(event.stream_id, [(":status", "403" if self.origin.refuses else "200")])
            if self.origin.refuses:
                self.h2.send_data(event.stream_id, b"no\n", end_stream=True)
                return
            self.protocols[event.stream_id] = Protocol(Side.SERVER, state=OPEN, max_size=1 << 24)
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            protocol = self.protocols[event.stream_id]
            protocol.receive_data(event.data)
            for frame in protocol.events_received():
                if isinstance(frame, Frame):
                    say_back(protocol, frame)

    def _speak(self, number: int, protocol: Protocol) -> None:
        out = self.waiting.pop(number, b"") + b"".join(protocol.data_to_send())
        while out and (room := min(self.h2.local_flow_control_window(number), 16_384)) > 0:
            self.h2.send_data(number, out[:room])
            out = out[room:]
        if out:
            self.waiting[number] = out
        elif protocol.close_rcvd is not None and number not in self.ended:
            self.ended.add(number)
            self.origin.closed.append(close_code(protocol))
            self.h2.end_stream(number)


@asynccontextmanager
async def serving(origin: Origin) -> AsyncIterator[Origin]:
    """Runs an origin for the duration of a block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        origin.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, origin.connection, listeners)
        yield origin
        nursery.cancel_scope.cancel()
