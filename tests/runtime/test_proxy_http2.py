"""HTTP/2 through a whole data plane: the pairings with HTTP/1, flow control end to end, resets, limits and drains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from snapshot.section import Section
from tests.echo import Echo, running
from tests.h2_peer import Client, Origin, OriginConnection, connected, serving
from tests.runtime.proxying import Running, proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


def to(port: int, protocol: str, **fields: object) -> list[Section]:
    """A gateway that sends everything to one origin."""
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [gateway_listener(), table(), *hosts, cluster("a", ("127.0.0.1", port), protocol=protocol, **fields)]


@asynccontextmanager
async def through(origin: Origin, **client: object) -> AsyncIterator[tuple[Running, Client]]:
    """An HTTP/2 origin behind a proxy, and an HTTP/2 client before it."""
    async with serving(origin), proxying(*to(origin.port, "http2")) as proxy:
        async with connected(proxy.ports[80], **client) as peer:  # type: ignore[arg-type]
            yield proxy, peer


async def test_http2_to_http2_passes_heads_bodies_and_trailers() -> None:
    async with through(Origin()) as (_, client):
        stream = await client.request("/a/../b?q=1", method="POST", body=b"hello", end=False, x_mine="1", te="trailers")
        client.h2.send_headers(stream, [("x-sum", "5")], end_stream=True)
        await client.flush()
        answer = await client.answer(stream)
        seen = json.loads(answer.body)
        assert answer.status == 200
        assert (seen["head"][":method"], seen["head"][":path"], seen["head"][":authority"]) == (
            "POST",
            "/b?q=1",
            "a.test",
        )
        assert (seen["head"]["x-mine"], seen["head"]["te"], seen["body"]) == ("1", "trailers", "hello")
        assert seen["trailers"] == [["x-sum", "5"]]
        assert len(seen["head"]["x-request-id"]) == 36


async def test_http2_to_http1_passes_a_body_of_unknown_length_and_splits_no_head() -> None:
    async with (
        running(Echo("a")) as (origin,),
        proxying(*to(origin.port, "http1")) as proxy,
        connected(proxy.ports[80]) as client,
    ):
        answer = await client.answer(await client.request("/x", method="POST", body=b"ab" * 60_000))
        seen = json.loads(answer.body)
        assert (seen["method"], seen["path"], seen["host"]) == ("POST", "/x", "a.test")
        assert len(seen["body"]) == 120_000
        assert seen["headers"]["transfer-encoding"] == ["chunked"]
        known = await client.answer(await client.request(method="POST", body=b"abc", content_length="3"))
        assert json.loads(known.body)["headers"]["content-length"] == ["3"]


async def test_http1_to_http2_passes_both_ways() -> None:
    async with serving(Origin()) as origin, proxying(*to(origin.port, "http2")) as proxy, httpx.AsyncClient() as client:
        for number in range(3):
            reply = await client.post(
                f"{proxy.url()}/x?n={number}", content=b"h" * 100_000, headers={"connection": "keep-alive"}
            )
            seen = reply.json()
            assert (seen["head"][":path"], len(seen["body"])) == (f"/x?n={number}", 100_000)
            assert "connection" not in seen["head"]
        assert origin.connections == 1


async def test_a_cluster_that_says_same_speaks_what_the_client_speaks() -> None:
    async with serving(Origin()) as new, proxying(*to(new.port, "same")) as proxy, connected(proxy.ports[80]) as client:
        assert (await client.get()).status == 200
    async with running(Echo("a")) as (old,), proxying(*to(old.port, "same")) as proxy, httpx.AsyncClient() as client:
        assert (await client.get(proxy.url())).status_code == 200


async def test_many_requests_at_once_share_one_connection_on_each_side() -> None:
    origin = Origin()
    async with through(origin) as (proxy, client):
        streams = [await client.request(f"/{number}") for number in range(90)]
        answers = [await client.answer(stream) for stream in streams]
        assert [json.loads(answer.body)["head"][":path"] for answer in answers] == [
            f"/{number}" for number in range(90)
        ]
        assert origin.connections == 1
        assert proxy.proxy.plane.instruments.value("weft_connections_total", "upstream") == 1


async def test_a_large_reply_passes_whole_through_small_windows() -> None:
    body = bytes(range(256)) * 8000

    def large(connection: OriginConnection, stream: int, head: dict[str, str], _: bytes) -> None:
        connection.respond(stream, body if head[":path"] == "/large" else b"small")

    async with through(Origin(large), window=20_000) as (_, client):
        first = await client.request("/large")
        second = await client.request("/small")
        assert (await client.answer(second)).body == b"small"
        assert (await client.answer(first)).body == body


async def test_a_client_that_reads_nothing_stops_only_its_own_stream() -> None:
    sent = {"bytes": 0}

    def endless(connection: OriginConnection, stream: int, head: dict[str, str], _: bytes) -> None:
        connection.respond(stream, b"x" * 3_000_000 if head[":path"] == "/stuck" else b"small")
        sent["connection"] = connection  # type: ignore[assignment]

    async with serving(Origin(endless)) as origin, proxying(*to(origin.port, "http2")) as proxy:
        async with connected(proxy.ports[80], greedy=False) as stuck, connected(proxy.ports[80]) as other:
            stream = await stuck.request("/stuck")
            while len(stuck.answers[stream].body) < 65_535:
                await stuck.step()
            for _ in range(20):
                assert (await other.get()).body == b"small"
            left = sent["connection"].waiting[1]  # type: ignore[attr-defined]
            # Two windows of 64 KiB and one outbox are all that the proxy has taken of three megabytes.
            assert len(left) > 3_000_000 - 400_000
            assert not stuck.answers[stream].ended


async def test_a_slow_upstream_stops_a_large_request_by_its_window() -> None:
    async with proxying(*to(1, "http2")) as proxy:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await proxy.swap(*to(port, "http2"))
        async with connected(proxy.ports[80]) as client, trio.open_nursery() as nursery:
            accepted, gate = trio.Event(), trio.Event()

            async def deaf(stream: trio.SocketStream) -> None:
                from runtime.http2.frames import settings

                await stream.send_all(settings({}))
                accepted.set()
                await gate.wait()

            nursery.start_soon(trio.serve_listeners, deaf, listeners)
            stream = await client.request(method="POST", end=False)
            await accepted.wait()
            with trio.move_on_after(0.3):
                await client.send_body(stream, b"x" * 5_000_000)
            room = client.h2.local_flow_control_window(stream)
            assert room == 0
            gate.set()
            nursery.cancel_scope.cancel()


async def test_a_client_that_resets_cancels_upstream_too() -> None:
    cancelled = trio.Event()

    class Silent(OriginConnection):
        pass

    def nothing(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        original = connection._take

        def watch(event: object) -> None:
            original(event)  # type: ignore[arg-type]
            if type(event).__name__ == "StreamReset":
                cancelled.set()

        connection._take = watch  # type: ignore[method-assign]
        arrived.set()

    arrived = trio.Event()
    async with through(Origin(nothing)) as (proxy, client):
        stream = await client.request("/wait")
        with trio.fail_after(2):
            await arrived.wait()
        client.h2.reset_stream(stream, error_code=8)
        await client.flush()
        with trio.fail_after(2):
            await cancelled.wait()
        assert proxy.proxy.plane.pools.connections == 1


async def test_a_truncated_reply_is_reset_never_ended() -> None:
    def cut(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        connection.h2.send_headers(stream, [(":status", "200"), ("content-length", "10")])
        connection.h2.send_data(stream, b"half")
        connection.h2.reset_stream(stream, error_code=2)

    async with through(Origin(cut)) as (_, client):
        answer = await client.get()
        assert (answer.status, answer.ended) == (200, False)
        assert answer.reset is not None

    async def half(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, half, listeners)
        async with (
            proxying(*to(listeners[0].socket.getsockname()[1], "http1")) as proxy,
            connected(proxy.ports[80]) as client,
        ):
            answer = await client.get()
            assert (answer.status, answer.ended, answer.reset is not None) == (200, False, True)
        nursery.cancel_scope.cancel()


async def test_a_reset_before_the_reply_is_a_503_on_either_side() -> None:
    def refuse(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        connection.h2.reset_stream(stream, error_code=2)

    async with through(Origin(refuse)) as (proxy, client):
        answer = await client.get()
        assert (answer.status, answer.ended) == (503, True)
        async with httpx.AsyncClient() as old:
            assert (await old.get(proxy.url())).status_code == 503


async def test_informational_replies_pass() -> None:
    def hints(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        connection.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        connection.respond(stream, b"done")

    async with through(Origin(hints)) as (_, client):
        answer = await client.get()
        assert (answer.informational, answer.status, answer.body) == ([103], 200, b"done")


async def test_head_and_no_content_have_no_body() -> None:
    def bare(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        if head[":method"] == "HEAD":
            connection.h2.send_headers(stream, [(":status", "200"), ("content-length", "10")], end_stream=True)
        else:
            connection.h2.send_headers(stream, [(":status", "204")], end_stream=True)

    async with through(Origin(bare)) as (proxy, client):
        answer = await client.answer(await client.request(method="HEAD"))
        assert (dict(answer.headers)["content-length"], answer.body, answer.ended) == ("10", b"", True)
        assert (await client.get()).status == 204
        async with httpx.AsyncClient() as old:
            assert (await old.head(proxy.url())).headers["content-length"] == "10"
            assert (await old.get(proxy.url())).status_code == 204


async def test_an_early_reply_tells_the_client_to_stop_sending() -> None:
    async with proxying(gateway_listener(), table()) as proxy, connected(proxy.ports[80]) as client:
        stream = await client.request(method="POST", body=b"x" * 1000, end=False)
        answer = await client.answer(stream)
        assert (answer.status, answer.ended) == (404, True)
        while answer.reset is None:
            await client.step()
        assert answer.reset == 0
        assert (await client.get()).status == 404


async def test_a_drain_finishes_what_is_open_and_closes() -> None:
    release = trio.Event()

    async def late(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await release.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, late, listeners)
        async with proxying(*to(listeners[0].socket.getsockname()[1], "http1")) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            async with stream:
                raw = Raw(stream)
                await raw.begin()
                await raw.get(1)
                nursery.start_soon(proxy.proxy.drain, 5)
                await raw.until("goaway 2147483647")
                release.set()
                await raw.until("data 1 done")
                await raw.until("goaway 1")
                assert await raw.closed()
            assert not proxy.proxy.plane.connections
        nursery.cancel_scope.cancel()


class Raw:
    """A client that survives a GOAWAY, which the h2 library does not: frames as words."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._data = b""
        self.words: list[str] = []

    async def begin(self) -> None:
        from runtime.http2.frames import PREFACE, settings

        await self._stream.send_all(PREFACE + settings({}))

    async def get(self, stream_id: int) -> None:
        from runtime.http2.blocks import encode_fields
        from runtime.http2.frames import HEADERS, frame

        head = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
        await self._stream.send_all(frame(HEADERS, 5, stream_id, encode_fields(head)))

    async def until(self, word: str) -> None:
        with trio.fail_after(3):
            while word not in self.words:
                assert await self._step(), f"closed before {word!r}: {self.words}"

    async def closed(self) -> bool:
        with trio.fail_after(3):
            while await self._step():
                pass
        return True

    async def _step(self) -> bool:
        from runtime.http2.frames import DATA, GOAWAY, PING, SETTINGS, frame, read_header, read_u32

        data = await self._stream.receive_some(65536)
        self._data += data
        while len(self._data) >= 9:
            high, low, kind, flags, stream_id = read_header(self._data, 0)
            payload = self._data[9 : 9 + (high << 8 | low)]
            self._data = self._data[9 + len(payload) :]
            if kind == GOAWAY:
                self.words.append(f"goaway {read_u32(payload)}")
            elif kind == DATA:
                self.words.append(f"data {stream_id} {payload.decode()}")
            elif kind == PING and not flags:
                await self._stream.send_all(frame(PING, 1, 0, payload))
            elif kind == SETTINGS and not flags:
                await self._stream.send_all(frame(SETTINGS, 1, 0))
        return bool(data)


async def test_a_flood_costs_its_connection_and_no_other() -> None:
    from runtime.http2.frames import PING, PREFACE, frame, settings

    async with through(Origin()) as (proxy, client):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        async with stream:
            await stream.send_all(PREFACE + settings({}) + frame(PING, 0, 0, b"\0" * 8) * 10_000)
            said = b"".join([part async for part in stream])
        assert said[-17:].endswith(b"\x00\x00\x00\x0b")
        assert proxy.proxy.plane.instruments.value("weft_protocol_error_total", "h2_control_flood") == 1
        assert (await client.get()).status == 200


async def test_an_upstream_that_leaves_is_replaced_and_nothing_is_lost() -> None:
    served = {"count": 0}

    def leave_after_three(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        served["count"] += 1
        connection.respond(stream, b"ok")
        if stream == 5:
            connection._pump()
            connection.h2.close_connection(last_stream_id=5)

    origin = Origin(leave_after_three)
    async with through(origin) as (_, client):
        for _ in range(9):
            answer = await client.get()
            assert (answer.status, answer.body) == (200, b"ok")
        assert origin.connections == 3


async def test_a_proxy_that_is_to_be_avoided_asks_each_client_to_leave_and_takes_it_back() -> None:
    async with serving(Origin()) as origin, proxying(*to(origin.port, "http2")) as proxy:
        proxy.proxy.set_leaving(True)
        async with httpx.AsyncClient() as client, connected(proxy.ports[80]) as peer:
            assert (await client.get(proxy.url())).headers["connection"] == "close"
            assert (await peer.get()).status == 200
            while peer.goaway is None:
                await peer.step()
            proxy.proxy.set_leaving(False)
            assert "connection" not in (await client.get(proxy.url())).headers
        async with connected(proxy.ports[80]) as peer:
            assert (await peer.get()).status == 200
            assert peer.goaway is None


async def test_a_new_connection_to_a_proxy_that_is_to_be_avoided_is_asked_to_leave_after_its_first_reply_not_before() -> (
    None
):
    async with serving(Origin()) as origin, proxying(*to(origin.port, "http2")) as proxy:
        proxy.proxy.set_leaving(True)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            raw = Raw(stream)
            await raw.begin()
            with trio.move_on_after(0.2):
                await raw.until("goaway 2147483647")
            assert raw.words == []
            await raw.get(1)
            await raw.until("goaway 1")
            assert [word.partition(" ")[0] for word in raw.words] == ["data", "data", "goaway", "goaway"]
            assert await raw.closed()


async def test_a_new_connection_without_requests_is_asked_to_leave_all_the_same() -> None:
    async with serving(Origin()) as origin, proxying(*to(origin.port, "http2")) as proxy:
        proxy.proxy.set_leaving(True)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            raw = Raw(stream)
            await raw.begin()
            await raw.until("goaway 0")
            assert raw.words == ["goaway 2147483647", "goaway 0"]
            assert await raw.closed()


async def test_listeners_that_are_closed_stay_closed_and_open_connections_go_on() -> None:
    async with through(Origin()) as (proxy, client):
        assert (await client.get()).status == 200
        names = frozenset({f"127.0.0.1:{proxy.ports[80]}"})
        proxy.proxy.close_listeners(names)
        await proxy.swap(*to(1, "http2"))
        with pytest.raises(OSError, match=r"refused|all attempts"):
            await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        assert (await client.get()).status == 503
