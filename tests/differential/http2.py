"""HTTP/2 on both sides of the engines, by the h2 library: a client that keeps its connection, and the server side of the backends."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio

from tests.differential.client import CLOSED, REPLY_S, Answer
from tests.differential.requests import Request

TRAILER = "trailer:"
"""What stands before the names of trailers among an answer's headers."""
Respond = Callable[[str, str, list[tuple[str, str]]], tuple[str, list[tuple[str, str]], bytes]]
"""Method, target and headers to status, headers and body."""
_READ = 65536


class Http2Client:
    """One kept connection to one listener of one engine; opened anew where it was closed."""

    def __init__(
        self, port: int, context: ssl.SSLContext | None, server_name: str | None, *, scheme: str = "http"
    ) -> None:
        self._scheme = scheme
        self._port = port
        self._context = context
        self._server_name = server_name
        self._stream: trio.abc.Stream | None = None
        self._h2: h2.connection.H2Connection | None = None

    async def send(self, request: Request) -> Answer:
        """Sends one request and reads its reply. A kept connection that turns out to be closed is replaced once."""
        with trio.move_on_after(REPLY_S):
            for kept in (self._stream is not None, False):
                try:
                    answer = await self._exchange(request)
                except (OSError, trio.BrokenResourceError, ssl.SSLError, h2.exceptions.ProtocolError):
                    answer = CLOSED
                if not answer.status:
                    await self.close()
                if answer.status or not kept:
                    return answer
        await self.close()
        return Answer(-1)

    async def _exchange(self, request: Request) -> Answer:
        if self._stream is None or self._h2 is None:
            await self._open()
        stream, connection = self._stream, self._h2
        assert stream is not None
        assert connection is not None
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, _head(request, self._scheme), end_stream=not request.body)
        if request.body:
            connection.send_data(number, request.body, end_stream=True)
        await stream.send_all(connection.data_to_send())
        headers: list[tuple[str, str]] = []
        body = b""
        while True:
            data = await stream.receive_some(_READ)
            if not data:
                return CLOSED
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        headers += event.headers
                    case h2.events.TrailersReceived():
                        headers += [(f"{TRAILER}{name}", value) for name, value in event.headers]
                    case h2.events.DataReceived():
                        body += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, number)
                    case h2.events.StreamReset():
                        return CLOSED
                    case h2.events.StreamEnded():
                        status = int(dict(headers)[":status"])
                        plain = tuple(pair for pair in headers if not pair[0].startswith(":"))
                        return Answer(status, plain, body)
            await stream.send_all(connection.data_to_send())

    async def _open(self) -> None:
        plain = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._stream = plain
        if self._context is not None:
            self._stream = trio.SSLStream(
                plain, self._context, server_hostname=self._server_name, https_compatible=True
            )
            await self._stream.do_handshake()
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.initiate_connection()
        await self._stream.send_all(self._h2.data_to_send())

    async def close(self) -> None:
        """Lets the connection go."""
        stream, self._stream, self._h2 = self._stream, None, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


def _head(request: Request, scheme: str) -> list[tuple[str, str]]:
    said = dict(request.headers)
    pseudo = [
        (":method", request.method),
        (":scheme", scheme),
        (":authority", said["host"]),
        (":path", request.target),
    ]
    return [*pseudo, *((name.lower(), value) for name, value in request.headers if name != "host")]


async def serve(stream: trio.SocketStream, first: bytes, respond: Respond) -> None:
    """Answers requests on a connection that began with ``first`` until it ends. What asks for gRPC gets trailers, too."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
    connection.initiate_connection()
    heads: dict[int, list[tuple[str, str]]] = {}
    data = first
    while data:
        for event in connection.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    heads[event.stream_id] = event.headers
                case h2.events.DataReceived():
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    _answer(connection, event.stream_id, heads.pop(event.stream_id), respond)
        await stream.send_all(connection.data_to_send())
        data = await stream.receive_some(_READ)


def _answer(connection: h2.connection.H2Connection, number: int, head: list[tuple[str, str]], respond: Respond) -> None:
    said = dict(head)
    pairs = [("host", said[":authority"]), *(pair for pair in head if not pair[0].startswith(":"))]
    status, headers, body = respond(said[":method"], said[":path"], pairs)
    grpc = said.get("content-type", "").startswith("application/grpc")
    connection.send_headers(number, [(":status", status), *headers], end_stream=not body and not grpc)
    if body:
        connection.send_data(number, body, end_stream=not grpc)
    if grpc:
        connection.send_headers(number, [("grpc-status", "0"), ("x-trailer", "there")], end_stream=True)
