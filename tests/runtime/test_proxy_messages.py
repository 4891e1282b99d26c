"""What belongs to a message besides head and body, in every pairing of versions and on both engines: trailers, and the wait for 100."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import h11
import pytest
import trio

from snapshot.section import Section
from tests import h2_peer
from tests.h2_peer import OriginConnection, connected
from tests.runtime.envoying import envoying
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
downstreams = pytest.mark.parametrize("downstream", ["http1", "http2"])
upstreams = pytest.mark.parametrize("upstream", ["http1", "http2"])
engines = pytest.mark.parametrize("engine", ["trio", "envoy"])
Trailers = list[tuple[str, str]]


async def http1_origin(stream: trio.SocketStream) -> None:
    """Answers with the request's head, body and trailers as JSON, chunked, and with a trailer of its own."""
    connection = h11.Connection(h11.SERVER)
    head: dict[str, str] = {}
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            head = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            trailers = [(name.decode(), value.decode()) for name, value in event.headers]
            break
        else:
            return
    seen = json.dumps({"head": head, "body": body.decode(), "trailers": trailers}).encode()
    out = connection.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")])) or b""
    out += connection.send(h11.Data(data=seen)) or b""
    await stream.send_all(out + (connection.send(h11.EndOfMessage(headers=[("x-sum", "9")])) or b""))


def http2_answer(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
    """The same over HTTP/2."""
    seen = {"head": head, "body": body.decode(), "trailers": connection.trailers.pop(stream, [])}
    connection.h2.send_headers(stream, [(":status", "200")])
    connection.h2.send_data(stream, json.dumps(seen).encode())
    connection.h2.send_headers(stream, [("x-sum", "9")], end_stream=True)


@asynccontextmanager
async def origin_of(version: str) -> AsyncIterator[int]:
    """An origin; the block gets its port."""
    if version == "http2":
        async with h2_peer.serving(h2_peer.Origin(http2_answer)) as origin:
            yield origin.port
        return

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await http1_origin(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def through(engine: str, upstream: str, folder: Path) -> AsyncIterator[int]:
    """An origin behind an engine; the block gets the engine's port."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(origin_of(upstream))
        hosts = host_sections("all", ["*"], [route(None, "a")])
        sections: list[Section] = [
            gateway_listener(),
            table(),
            *hosts,
            cluster("a", ("127.0.0.1", port), protocol=upstream),
        ]
        started = envoying(folder, *sections) if engine == "envoy" else proxying(*sections)
        yield (await stack.enter_async_context(started)).ports[80]


class Http1Client:
    """One exchange by h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._codec = h11.Connection(h11.CLIENT)
        self.informational: list[int] = []

    async def send(self, event: h11.Event) -> None:
        await self._stream.send_all(self._codec.send(event) or b"")

    async def step(self) -> h11.Event:
        while True:
            event = self._codec.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._codec.receive_data(await self._stream.receive_some())

    async def answer(self) -> tuple[int, bytes, Trailers]:
        status, body = 0, b""
        while True:
            event = await self.step()
            if isinstance(event, h11.InformationalResponse):
                self.informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, body, [(name.decode(), value.decode()) for name, value in event.headers]


async def post_over_http1(port: int) -> tuple[bytes, Trailers]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = Http1Client(stream)
        headers = [("host", "a.test"), ("transfer-encoding", "chunked"), ("te", "trailers"), ("connection", "te")]
        await client.send(h11.Request(method="POST", target="/", headers=headers))
        await client.send(h11.Data(data=b"hello"))
        await client.send(h11.EndOfMessage(headers=[("x-mine", "5")]))
        _, body, trailers = await client.answer()
        return body, trailers


async def post_over_http2(port: int) -> tuple[bytes, Trailers]:
    async with connected(port) as client:
        stream = await client.request("/", method="POST", body=b"hello", end=False, te="trailers")
        client.h2.send_headers(stream, [("x-mine", "5")], end_stream=True)
        await client.flush()
        answer = await client.answer(stream)
        return answer.body, answer.trailers


@engines
@downstreams
@upstreams
async def test_trailers_pass_both_ways(engine: str, downstream: str, upstream: str, tmp_path: Path) -> None:
    async with through(engine, upstream, tmp_path) as port:
        body, trailers = await (post_over_http1 if downstream == "http1" else post_over_http2)(port)
        seen = json.loads(body)
        assert seen["body"] == "hello"
        assert [list(pair) for pair in seen["trailers"]] == [["x-mine", "5"]]
        assert trailers == [("x-sum", "9")]


@upstreams
async def test_trailers_that_come_before_there_is_an_upstream_are_sent_when_there_is(
    upstream: str, tmp_path: Path
) -> None:
    async with through("trio", upstream, tmp_path) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        await stream.send_all(head + b"5\r\nhello\r\n0\r\nx-mine: 5\r\n\r\n")
        reply = b""
        async for data in stream:
            reply += data
        assert b'"trailers": [["x-mine", "5"]]' in reply


@engines
@upstreams
async def test_a_client_that_waits_for_100_is_invited_and_the_upstream_not_asked(
    engine: str, upstream: str, tmp_path: Path
) -> None:
    async with through(engine, upstream, tmp_path) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = Http1Client(stream)
        headers = [("host", "a.test"), ("content-length", "5"), ("expect", "100-continue")]
        await client.send(h11.Request(method="POST", target="/", headers=headers))
        invitation = await client.step()
        assert isinstance(invitation, h11.InformationalResponse)
        assert invitation.status_code == 100
        await client.send(h11.Data(data=b"hello"))
        await client.send(h11.EndOfMessage())
        status, body, _ = await client.answer()
        seen = json.loads(body)
        assert (status, seen["body"], client.informational) == (200, "hello", [])
        assert "expect" not in seen["head"]


async def test_an_expectation_over_http2_is_met_too(tmp_path: Path) -> None:
    async with through("trio", "http1", tmp_path) as port, connected(port) as client:
        stream = await client.request("/", method="POST", end=False, expect="100-continue")
        while not client.answers[stream].informational:
            await client.step()
        await client.send_body(stream, b"hello")
        answer = await client.answer(stream)
        assert (answer.status, json.loads(answer.body)["body"], answer.informational) == (200, "hello", [100])


async def test_a_refused_request_is_not_invited_to_send_its_body() -> None:
    async with proxying(gateway_listener(), table()) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            client = Http1Client(stream)
            headers = [("host", "a.test"), ("content-length", "5"), ("expect", "100-continue")]
            await client.send(h11.Request(method="POST", target="/", headers=headers))
            assert (await client.answer())[0] == 404
            assert client.informational == []
