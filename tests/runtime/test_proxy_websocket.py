"""WebSocket through a whole data plane, HTTP/1 and HTTP/2 on either side; both ends are the websockets library's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from policies.match import PathPrefix
from policies.traffic import HeaderEdits
from snapshot.section import Section
from tests.h2_peer import Answer, connected
from tests.runtime.envoying import envoying
from tests.runtime.proxying import Running, proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table
from tests.websocket_peer import Origin, Talker, ask_over_http2, close_code, over_http1, over_http2, serving

pytestmark = pytest.mark.integration
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
pairings = pytest.mark.parametrize("downstream", ["http1", "http2"])
upstreams = pytest.mark.parametrize("upstream", ["http1", "http2"])


def to(port: int, protocol: str) -> list[Section]:
    """A gateway that sends everything to one origin."""
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port), protocol=protocol)]


@asynccontextmanager
async def talking(port: int, downstream: str) -> AsyncIterator[Talker]:
    """A client that has shaken hands through the proxy."""
    if downstream == "http1":
        async with over_http1(port) as talker:
            yield talker
    else:
        async with connected(port) as client:
            yield await over_http2(client)


@asynccontextmanager
async def through(downstream: str, origin: Origin) -> AsyncIterator[tuple[Running, Talker]]:
    """An origin behind a proxy and a client before it."""
    async with serving(origin), proxying(*to(origin.port, "http2" if origin.http2 else "http1")) as proxy:
        async with talking(proxy.ports[80], downstream) as talker:
            yield proxy, talker


async def refused(port: int, downstream: str) -> int:
    """The status with which a handshake fails."""
    if downstream == "http2":
        async with connected(port) as client:
            return (await ask_over_http2(client))[1].status
    try:
        async with over_http1(port):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pairings
@upstreams
async def test_messages_control_frames_and_the_close_pass_in_every_pairing(downstream: str, upstream: str) -> None:
    origin = Origin(http2=upstream == "http2")
    async with through(downstream, origin) as (_, talker):
        await talker.say(b"hello")
        assert await talker.message() == b"hello"
        large = bytes(range(32, 127)) * 8000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talker.say, large)
            assert await talker.message() == large
        talker.protocol.send_ping(b"alive?")
        await talker.flush()
        answer = await talker.hear()
        assert (answer.opcode, answer.data) == (Opcode.PONG, b"alive?")
        talker.protocol.send_close(1000, "done")
        await talker.flush()
        assert (await talker.hear()).opcode is Opcode.CLOSE
        assert origin.paths == ["/ws"]
        assert (origin.closed, close_code(talker.protocol)) == ([1000], 1000)


@pairings
@upstreams
async def test_a_refused_handshake_is_an_ordinary_response(downstream: str, upstream: str) -> None:
    async with serving(Origin(http2=upstream == "http2", refuses=True)) as origin:
        async with proxying(*to(origin.port, upstream)) as proxy:
            assert await refused(proxy.ports[80], downstream) == 403


@upstreams
async def test_what_switches_protocols_bears_the_edits_of_its_route(upstream: str) -> None:
    async with serving(Origin(http2=upstream == "http2")) as origin:
        edited = msgspec.structs.replace(route(None, "a"), response_headers=HeaderEdits(set=(("x-edited", "yes"),)))
        there = cluster("a", ("127.0.0.1", origin.port), protocol=upstream)
        sections = [gateway_listener(), table(), *host_sections("all", ["*"], [edited]), there]
        async with proxying(*sections) as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            head = "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            await stream.send_all(f"{head}sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n".encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"\r\nx-edited: yes\r\n" in answer
    assert b"\r\nserver: weft\r\n" in answer


@pairings
async def test_an_upstream_that_takes_no_extended_connect_is_never_asked(downstream: str) -> None:
    async with serving(Origin(http2=True, offers=False)) as origin, proxying(*to(origin.port, "http2")) as proxy:
        assert await refused(proxy.ports[80], downstream) == 502
        assert origin.paths == []


@upstreams
async def test_what_a_client_sends_too_early_waits_until_the_upstream_has_agreed(upstream: str) -> None:
    async with serving(Origin(http2=upstream == "http2")) as origin, proxying(*to(origin.port, upstream)) as proxy:
        async with connected(proxy.ports[80]) as client:
            while not client.h2.remote_settings.enable_connect_protocol:
                await client.step()
            stream = client.h2.get_next_available_stream_id()
            client.answers[stream] = Answer()
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws")]
            client.h2.send_headers(stream, [*head, (":authority", "a.test"), ("sec-websocket-version", "13")])
            # A masked text frame, the mask all zeroes.
            client.h2.send_data(stream, b"\x81\x85\0\0\0\0early")
            await client.flush()
            while client.answers[stream].body != b"\x81\x05early":
                await client.step()


@pairings
@upstreams
async def test_at_the_deadline_of_a_drain_a_websocket_is_told_that_the_server_goes_away(
    downstream: str, upstream: str
) -> None:
    origin = Origin(http2=upstream == "http2")
    async with through(downstream, origin) as (proxy, talker):
        await talker.say(b"hello")
        assert await talker.message() == b"hello"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.proxy.drain, 0.05)
            assert (await talker.hear()).opcode is Opcode.CLOSE
            assert close_code(talker.protocol) == 1001
        # The client's answer was the closing handshake of the server, too.
        assert origin.closed == [1001]
        assert not proxy.proxy.plane.connections


async def test_a_drain_waits_for_a_websocket_that_ends_by_itself() -> None:
    async with through("http1", Origin()) as (proxy, talker):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.proxy.drain, 30.0)
            await talker.say(b"still here")
            assert await talker.message() == b"still here"
            talker.protocol.send_close(1000)
            await talker.flush()
            assert (await talker.hear()).opcode is Opcode.CLOSE
            assert close_code(talker.protocol) == 1000
            assert isinstance(talker.stream, trio.SocketStream)
            await talker.stream.aclose()


async def test_envoy_passes_websockets_from_http2_to_either_version(tmp_path: Path) -> None:
    routes = [route(PathPrefix("/http1"), "http1"), route(PathPrefix("/http2"), "http2")]
    async with serving(Origin()) as old, serving(Origin(http2=True)) as new:
        clusters = [
            cluster(f"http{number}", ("127.0.0.1", one.port), protocol=f"http{number}")
            for number, one in ((1, old), (2, new))
        ]
        async with envoying(
            tmp_path, gateway_listener(), table(), *host_sections("all", ["*"], routes), *clusters
        ) as envoy:
            for upstream, origin in (("http1", old), ("http2", new)):
                async with connected(envoy.ports[80]) as client:
                    talker = await over_http2(client, f"/{upstream}", sec_websocket_key=KEY)
                    await talker.say(b"hello")
                    assert await talker.message() == b"hello"
                assert origin.paths == [f"/{upstream}"]
            async with over_http1(envoy.ports[80], "/http1") as talker:
                await talker.say(b"hello")
                assert await talker.message() == b"hello"


@upstreams
async def test_a_handshake_that_says_that_it_has_no_body_is_one_all_the_same(upstream: str) -> None:
    """Java's client sends a length of zero."""
    async with serving(Origin(http2=upstream == "http2")) as origin, proxying(*to(origin.port, upstream)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            head = (
                "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n"
            )
            await stream.send_all(f"{head}sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n".encode())
            reply = await stream.receive_some()
            assert reply.startswith(b"HTTP/1.1 101 ")
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in reply
