"""Names of headers keep their capitals between HTTP/1 peers where a proxy is asked to (preserveHttp1HeaderCase)."""

from __future__ import annotations

import pytest
import trio

from policies.proxy_headers import ProxyHeaders
from runtime.http1.grammar import split_fields
from runtime.http1.spelling import SpelledLines, spelled_lines, split_spelled
from snapshot.section import Proxy, Section
from tests.runtime.proxying import proxying
from tests.slices import WORKLOAD, cluster, gateway_listener, host_sections, route, table

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Their-Name: a\r\nlower: b\r\nServer: them\r\n\r\nok"
BIG = b"POST / HTTP/1.1\r\nHost: a.test\r\nX-My-Name: 1\r\nContent-Length: 2\r\nplain: 2\r\n\r\nhi"
SMALL = BIG.replace(b"Host", b"host").replace(b"X-My-Name", b"x-my-name").replace(b"Content-Length", b"content-length")


def test_a_name_is_what_it_was_and_remembers_how_it_was_written() -> None:
    raw = b"X-One: a\r\nx-two: b\r\nX-ONE: c\r\n"
    found = split_spelled(raw, 0, len(raw), 10)
    assert found == split_fields(raw, 0, len(raw), 10) == [(b"x-one", b"a"), (b"x-two", b"b"), (b"x-one", b"c")]
    assert spelled_lines(found) == raw
    assert isinstance(spelled_lines(found), SpelledLines)
    assert type(spelled_lines([(b"a", b"b")])) is bytes
    assert spelled_lines([]) == b""
    assert split_spelled(b"", 0, 0, 10) == []


class Origin:
    """Answers every request with REPLY and keeps what it received."""

    def __init__(self) -> None:
        self.heard = b""

    async def serve(self, stream: trio.SocketStream) -> None:
        self.heard += await stream.receive_some(65_536)
        await stream.send_all(REPLY)
        async for _ in stream:
            pass


async def exchanged(headers: ProxyHeaders, request: bytes) -> tuple[set[bytes], set[bytes]]:
    """The header lines that the origin saw, and those that the client saw."""
    origin = Origin()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, origin.serve, [listener])
        sections: list[Section] = [
            Proxy(WORKLOAD, "cluster.local", headers=headers),
            gateway_listener(),
            table(),
            *host_sections("all", ["*"], [route(None, "a")]),
            cluster("a", ("127.0.0.1", listener.socket.getsockname()[1])),
        ]
        async with proxying(*sections) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            async with stream:
                await stream.send_all(request)
                reply = b""
                while not reply.endswith(b"\r\n\r\nok"):
                    more = await stream.receive_some(65_536)
                    assert more
                    reply += more
        nursery.cancel_scope.cancel()
    heads = (message.partition(b"\r\n\r\n")[0].split(b"\r\n") for message in (origin.heard, reply))
    seen, answered = ({line.partition(b":")[0] for line in head} for head in heads)
    return seen, answered


@pytest.mark.integration
async def test_names_pass_as_they_were_written_both_ways() -> None:
    seen, answered = await exchanged(ProxyHeaders(spelling=True), BIG)
    assert {b"Host", b"X-My-Name", b"Content-Length", b"plain", b"x-request-id"} <= seen
    assert {b"X-Their-Name", b"lower", b"Content-Length", b"server"} <= answered


@pytest.mark.integration
async def test_a_client_that_capitalises_nothing_is_followed_in_that() -> None:
    seen, _ = await exchanged(ProxyHeaders(spelling=True), SMALL)
    assert {b"host", b"x-my-name", b"content-length"} <= seen


@pytest.mark.integration
async def test_nothing_keeps_its_capitals_where_nobody_asked() -> None:
    seen, answered = await exchanged(ProxyHeaders(), BIG)
    assert {b"host", b"x-my-name", b"content-length"} <= seen
    assert {b"x-their-name", b"content-length"} <= answered
