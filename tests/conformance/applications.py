"""Echo applications as Istio's and Gateway API's suites have them: a port per protocol, each answering with what it saw.

HTTP is judged by h11 and h2, as a stranger would. What an HTTP or gRPC request gets is JSON, as late and as often wrong as its query asks
(``delay``, ``uuid`` with ``succeedAfter``, ``responseCode`` and ``delayRetry``); what a TCP connection gets is its own line behind
``StatusCode=200``; what a datagram gets is the datagram behind the name of the program.
"""

from __future__ import annotations

import json
import re
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11
import trio

PREFACE = b"PRI * HTTP/2.0"
GREETING = b"server-first-protocol\n"
_READ = 65536


class Application:
    """One workload's program. ``ports`` says where each of its ports really is; ``seen`` grows with every HTTP request.

    A port's protocol is ``http``, ``https``, ``tcp``, ``tcp-tls``, ``tcp-server`` (which speaks first) or ``udp``.
    """

    def __init__(
        self,
        name: str,
        ports: Iterable[tuple[int, str]],
        context: ssl.SSLContext | None = None,
        namespace: str = "default",
    ) -> None:
        self.name = name
        self.namespace = namespace
        self._tries: Counter[str] = Counter()
        self._came = trio.Event()
        self.protocols = dict(ports)
        self.context = context
        self.ports: dict[int, int] = {}
        self.seen: list[dict[str, object]] = []

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens on 127.0.0.1 until cancelled."""
        async with trio.open_nursery() as nursery:
            for number, protocol in self.protocols.items():
                if protocol == "udp":
                    await self._datagrams(number, nursery)
                    continue
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.ports[number] = listeners[0].socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, self._speaker(protocol, number), listeners)
            task_status.started()

    async def wait_seen(self, count: int) -> None:
        """Waits until so many HTTP requests have come."""
        while len(self.seen) < count:
            self._came = trio.Event()
            await self._came.wait()

    async def _datagrams(self, number: int, nursery: trio.Nursery) -> None:
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await sock.bind(("127.0.0.1", 0))
        self.ports[number] = sock.getsockname()[1]

        async def answer() -> None:
            with sock:
                while True:
                    data, sender = await sock.recvfrom(_READ)
                    text = json.dumps(
                        {"service": self.name, "namespace": self.namespace, "data": data.decode("latin-1")}
                    )
                    await sock.sendto(text.encode(), sender)

        nursery.start_soon(answer)

    def _speaker(self, protocol: str, number: int):  # type: ignore[no-untyped-def]
        async def speak(stream: trio.abc.Stream) -> None:
            try:
                if protocol in ("https", "tcp-tls"):
                    assert self.context is not None
                    stream = trio.SSLStream(stream, self.context, server_side=True, https_compatible=True)
                    await stream.do_handshake()
                async with stream:
                    if protocol == "tcp-server":
                        await stream.send_all(GREETING)
                    await self._talk(stream, number, http=not protocol.startswith("tcp"))
            except (trio.BrokenResourceError, h11.RemoteProtocolError, h2.exceptions.ProtocolError, OSError):
                return

        return speak

    async def _talk(self, stream: trio.abc.Stream, number: int, *, http: bool) -> None:
        first = await stream.receive_some(_READ)
        if not http:
            while first:
                await stream.send_all(b"StatusCode=200\nHostname=" + self.name.encode() + b"\n" + first)
                first = await stream.receive_some(_READ)
        elif first.startswith(PREFACE[: len(first)]) and first:
            await self._http2(stream, number, first)
        elif first:
            await self._http1(stream, number, first)

    async def _http1(self, stream: trio.abc.Stream, number: int, first: bytes) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
        connection.receive_data(first)
        while connection.our_state is not h11.MUST_CLOSE:
            request = await _event(stream, connection)
            if not isinstance(request, h11.Request):
                return
            while not isinstance(await _event(stream, connection), h11.EndOfMessage):
                pass
            status = await self._behave(request.target.decode())
            if not status:
                return
            pairs = [(name.decode().lower(), value.decode("latin-1")) for name, value in request.headers]
            version = f"HTTP/{request.http_version.decode()}"
            text = self._record(version, request.method.decode(), request.target.decode(), pairs, number)
            head = h11.Response(status_code=status, headers=[("content-length", str(len(text)))])
            out = (connection.send(head) or b"") + (connection.send(h11.Data(data=text)) or b"")
            await stream.send_all(out + (connection.send(h11.EndOfMessage()) or b""))
            if connection.our_state is h11.DONE:
                connection.start_next_cycle()

    async def _behave(self, target: str) -> int:
        """Waits as the query asks; the status to answer, 0 to end the connection instead."""
        asked = {
            name: re.sub(r"[^0-9a-z-]", "", values[0]) for name, values in parse_qs(urlsplit(target).query).items()
        }
        await trio.sleep(_seconds(asked.get("delay", "")))
        if "uuid" not in asked:
            return 200
        self._tries[asked["uuid"]] += 1
        if self._tries[asked["uuid"]] > int(asked.get("succeedAfter", "0")):
            return 200
        await trio.sleep(_seconds(asked.get("delayRetry", "")))
        return int(asked.get("responseCode", "0"))

    async def _http2(self, stream: trio.abc.Stream, number: int, first: bytes) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        heads: dict[int, list[tuple[str, str]]] = {}
        data = first
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = event.headers
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(connection, event.stream_id, heads.pop(event.stream_id), number)
            await stream.send_all(connection.data_to_send())
            data = await stream.receive_some(_READ)

    def _answer(
        self, connection: h2.connection.H2Connection, stream: int, head: list[tuple[str, str]], number: int
    ) -> None:
        said = dict(head)
        pairs = [("host", said[":authority"]), *(pair for pair in head if not pair[0].startswith(":"))]
        text = self._record("HTTP/2.0", said[":method"], said[":path"], pairs, number)
        if said.get("content-type", "").startswith("application/grpc"):
            connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            connection.send_data(stream, struct.pack(">BI", 0, len(text)) + text)
            connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        else:
            connection.send_headers(stream, [(":status", "200"), ("content-length", str(len(text)))])
            connection.send_data(stream, text, end_stream=True)

    def _record(self, version: str, method: str, target: str, pairs: list[tuple[str, str]], number: int) -> bytes:
        headers: dict[str, list[str]] = {}
        for name, value in pairs:
            headers.setdefault(name, []).append(value)
        seen: dict[str, object] = {
            "service": self.name,
            "namespace": self.namespace,
            "protocol": version,
            "method": method,
            "path": target,
            "host": headers.get("host", [""])[0],
            "headers": headers,
            "port": number,
        }
        self.seen.append(seen)
        self._came.set()
        return json.dumps(seen).encode()


def _seconds(text: str) -> float:
    """A duration of Go's: ``300ms``, ``1s``, or nothing."""
    number = float(re.sub(r"[^0-9.]", "", text) or 0)
    return number / 1000 if text.endswith("ms") else number


async def _event(stream: trio.abc.Stream, connection: h11.Connection) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(_READ))
    return event


@asynccontextmanager
async def applications(*programs: Application) -> AsyncIterator[None]:
    """Runs programs for the duration of a block."""
    async with trio.open_nursery() as nursery:
        for program in programs:
            await nursery.start(program.serve)
        yield
        nursery.cancel_scope.cancel()
