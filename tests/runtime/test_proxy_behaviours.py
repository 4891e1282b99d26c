"""What a hop does besides passing on: retries, deadlines, faults, tunnels, the explicit proxy, drain, and what it says about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
import trio.lowlevel

from policies.match import PathExact, PathPrefix
from policies.traffic import Destination, Fault, FaultAbort, FaultDelay, Forward, HeaderEdits, Retry, Rewrite
from snapshot.section import (
    AccessLog,
    FilterChain,
    HttpChain,
    Listener,
    OriginalDestination,
    PoolLimits,
    Proxy,
    ProxyPort,
    Route,
    Section,
    TcpChain,
)
from tests.echo import Echo, running
from tests.runtime.proxying import outbound, proxying
from tests.slices import SOURCE, WORKLOAD, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration

Script = Callable[[trio.SocketStream, int], object]


class Origin:
    """A raw TCP origin: runs a script per connection, given the connection's number."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        self.port = listener.socket.getsockname()[1]

        async def one(stream: trio.SocketStream) -> None:
            self.connections += 1
            try:
                await self.script(stream, self.connections)  # type: ignore[misc]
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        task_status.started()
        await trio.serve_listeners(one, [listener])


async def head_of(stream: trio.SocketStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some()
        if not part:
            break
        data += part
    return data


def sections(port: int, changed: Route | None = None, **fields: object) -> list[Section]:
    return [
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [changed or route(None, "a")]),
        cluster("a", ("127.0.0.1", port), **fields),
    ]


def with_(**fields: object) -> Route:
    return msgspec.structs.replace(route(None, "a"), **fields)


async def test_a_stale_pooled_connection_is_nobodys_failure() -> None:
    async def script(stream: trio.SocketStream, number: int) -> None:
        await head_of(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
        if number == 1:
            await head_of(stream)  # The second request arrives here, and gets no answer.
        await stream.aclose()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            assert (await proxy.get()).endswith(b"1")
            assert (await proxy.get()).endswith(b"2")
        nursery.cancel_scope.cancel()


async def test_a_request_that_may_not_be_repeated_is_not() -> None:
    async def script(stream: trio.SocketStream, number: int) -> None:
        await head_of(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await head_of(stream)
        await stream.aclose()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            assert (await proxy.get()).startswith(b"HTTP/1.1 200")
            reply = await proxy.exchange(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 503")
            assert origin.connections == 1
        nursery.cancel_scope.cancel()


async def test_a_try_that_takes_too_long_is_tried_again() -> None:
    async def script(stream: trio.SocketStream, number: int) -> None:
        await head_of(stream)
        if number == 1:
            await trio.sleep_forever()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        policy = Retry(attempts=1, on=("5xx",), per_try_timeout_ms=60)
        async with proxying(*sections(origin.port, with_(retry=policy))) as proxy:
            assert (await proxy.get()).startswith(b"HTTP/1.1 200")
            assert origin.connections == 2
        nursery.cancel_scope.cancel()


async def test_a_request_from_inside_may_ask_for_the_snapshot_of_each_hop() -> None:
    async with running(Echo("a")) as (origin,), proxying(*sections(origin.port)) as proxy:
        assert b"x-weft-snapshot: tester=" in await proxy.get("/", "a", "x-weft-trace: snapshot")
        assert b"x-weft-snapshot" not in await proxy.get()


async def test_a_retriable_status_is_tried_again_and_the_body_sent_again() -> None:
    bodies = []

    async def script(stream: trio.SocketStream, number: int) -> None:
        data = await head_of(stream)
        while not data.endswith(b"body"):
            data += await stream.receive_some()
        bodies.append(data[-4:])
        status = b"503 Busy" if number < 3 else b"200 OK"
        await stream.send_all(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port, with_(retry=Retry(attempts=2)))) as proxy:
            reply = await proxy.exchange(
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody"
            )
            assert reply.startswith(b"HTTP/1.1 200")
            assert bodies == [b"body"] * 3
        nursery.cancel_scope.cancel()


async def test_the_routes_time_out_answers_504() -> None:
    async def script(stream: trio.SocketStream, _: int) -> None:
        await trio.sleep_forever()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port, with_(timeout_ms=50))) as proxy:
            reply = await proxy.get()
            assert reply.startswith(b"HTTP/1.1 504")
            assert reply.endswith(b"upstream request timeout")
        nursery.cancel_scope.cancel()


async def test_a_truncated_body_never_looks_finished() -> None:
    async def script(stream: trio.SocketStream, _: int) -> None:
        await head_of(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await stream.aclose()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            received = b""
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  reading on until the reset
                while True:
                    part = await stream.receive_some()
                    assert part, "a clean end"
                    received += part
            assert b"0\r\n\r\n" not in received
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_faults_answer_and_delay() -> None:
    async with running(Echo("a")) as (origin,):
        abort = with_(fault=Fault(abort=FaultAbort(555)))
        async with proxying(*sections(origin.port, abort)) as proxy:
            assert (await proxy.get()).startswith(b"HTTP/1.1 555")
            await proxy.swap(*sections(origin.port, with_(fault=Fault(delay=FaultDelay(60)))))
            begin = trio.current_time()
            assert (await proxy.get()).startswith(b"HTTP/1.1 200")
            assert trio.current_time() - begin >= 0.06


async def test_headers_and_paths_are_edited() -> None:
    action = Forward((Destination("a", request_headers=HeaderEdits(add=(("x-d", "1"),))),), Rewrite(prefix="/new"))
    edits = HeaderEdits(remove=("x-gone",), set=(("x-set", "2"),), add=(("x-add", "3"),))
    changed = msgspec.structs.replace(
        route(PathPrefix("/old"), "a", action=action),
        request_headers=edits,
        response_headers=HeaderEdits(remove=("content-type",), set=(("x-r", "4"),)),
    )
    async with (
        running(Echo("a")) as (origin,),
        proxying(*sections(origin.port, changed)) as proxy,
        httpx.AsyncClient() as client,
    ):
        reply = await client.get(f"{proxy.url()}/old/x?q", headers={"x-gone": "1", "x-set": "1"})
    seen = reply.json()
    headers = seen["headers"]
    assert (seen["path"], headers["x-d"], headers["x-set"], headers["x-add"]) == ("/new/x?q", ["1"], ["2"], ["3"])
    assert "x-gone" not in headers
    assert headers["x-envoy-original-path"] == ["/old/x?q"]
    assert reply.headers["x-r"] == "4"
    assert "content-type" not in reply.headers


async def test_a_rewrite_that_would_split_the_request_is_500_and_reaches_no_upstream() -> None:
    action = Forward((Destination("a"),), Rewrite(path="/a b\r\nx: y"))
    async with (
        running(Echo("a")) as (origin,),
        proxying(*sections(origin.port, route(None, "a", action=action))) as proxy,
    ):
        assert (await proxy.get()).startswith(b"HTTP/1.1 500 ")
        assert origin.seen == []


async def test_the_edge_trusts_nothing_from_outside() -> None:
    async with running(Echo("a")) as (origin,):
        edge = [gateway_listener(edge=True), *sections(origin.port)[1:]]
        async with proxying(*edge) as proxy, httpx.AsyncClient() as client:
            claimed = {
                "x-request-id": "mine",
                "x-envoy-internal": "true",
                "x-forwarded-for": "1.2.3.4",
                "x-forwarded-proto": "https",
                "x-forwarded-client-cert": "URI=spiffe://x",
                "x-weft-trace": "snapshot",
            }
            reply = await client.get(proxy.url(), headers=claimed)
    headers = reply.json()["headers"]
    assert headers["x-forwarded-for"] == ["1.2.3.4, 127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["x-request-id"] != ["mine"]
    assert not {"x-envoy-internal", "x-forwarded-client-cert", "x-weft-trace"} & set(headers)
    assert "x-weft-snapshot" not in reply.headers


async def test_limits_answer_overflow() -> None:
    async with running(Echo("a")) as (origin,):
        held = trio.Event()

        async def script(stream: trio.SocketStream, _: int) -> None:
            await held.wait()

        slow = Origin(script)
        async with trio.open_nursery() as nursery:
            await nursery.start(slow.serve)
            limited = sections(slow.port, limits=PoolLimits(max_requests=1))
            async with proxying(*limited) as proxy:
                nursery.start_soon(proxy.get)
                while not proxy.proxy.plane.pools.active:
                    await trio.lowlevel.checkpoint()
                reply = await proxy.get()
                assert reply.startswith(b"HTTP/1.1 503")
                assert b"reset reason: overflow" in reply
                assert b"x-envoy-overloaded: true" in reply
                nursery.cancel_scope.cancel()
        assert origin.seen == []


async def test_a_websocket_upgrade_becomes_a_tunnel() -> None:
    async def script(stream: trio.SocketStream, _: int) -> None:
        head = await head_of(stream)
        assert b"upgrade: websocket" in head.lower()
        await stream.send_all(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst")
        async for data in stream:
            await stream.send_all(data.upper())
        await stream.send_eof()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            received = b""
            while not received.endswith(b"first"):
                received += await stream.receive_some()
            assert received.startswith(b"HTTP/1.1 101")
            await stream.send_all(b"abc")
            assert await stream.receive_some() == b"ABC"
            await stream.send_eof()
            assert await stream.receive_some() == b""
            await stream.aclose()
        nursery.cancel_scope.cancel()


def explicit(*extra: Section) -> list[Section]:
    chain = FilterChain(name="http", source=SOURCE, network=HttpChain(routes="", proxy=True))
    return [
        Listener("proxy", SOURCE, "outbound", ProxyPort(), "http", (chain,)),
        msgspec.structs.replace(cluster("PassthroughCluster"), endpoints=OriginalDestination()),
        *extra,
    ]


async def test_the_explicit_proxy_routes_by_the_targets_port() -> None:
    async with running(Echo("svc")) as (origin,):
        extra = [
            table("9080", port=9080, unmatched="PassthroughCluster"),
            *host_sections("svc", ["svc", "svc:9080"], [route(None, "outbound|9080||svc")], table="9080"),
            cluster("outbound|9080||svc", (origin.address, origin.port), port=9080),
        ]
        async with outbound(*explicit(*extra)) as url, httpx.AsyncClient(proxy=url) as client:
            assert (await client.get("http://svc:9080/x")).json()["host"] == "svc:9080"


async def test_connect_tunnels_to_the_cluster_of_the_host() -> None:
    async with running(Echo("svc")) as (origin,):
        extra = [
            table("9080", port=9080, unmatched="PassthroughCluster"),
            *host_sections("svc", ["svc", "svc:9080"], [route(None, "outbound|9080||svc")], table="9080"),
            cluster("outbound|9080||svc", (origin.address, origin.port), port=9080),
        ]
        async with outbound(*explicit(*extra)) as url:
            stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
            await stream.send_all(b"CONNECT svc:9080 HTTP/1.1\r\nhost: svc:9080\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            await stream.send_all(b"GET /inside HTTP/1.1\r\nhost: svc\r\nconnection: close\r\n\r\n")
            assert b"/inside" in b"".join([part async for part in stream])
            await stream.aclose()


async def test_an_unknown_host_passes_through_by_name() -> None:
    async with running(Echo("out")) as (origin,):
        fallback = table("0", port=origin.port, unmatched="PassthroughCluster")
        async with outbound(*explicit(fallback)) as url, httpx.AsyncClient(proxy=url) as client:
            reply = await client.get(f"http://localhost:{origin.port}/x")
            assert reply.json()["service"] == "out"


async def test_a_cluster_without_endpoints_sends_requests_where_the_client_said_whatever_the_host_is_told() -> None:
    to = Forward((Destination("asked"),), rewrite=Rewrite(authority="told.test"))
    nowhere = msgspec.structs.replace(cluster("asked"), endpoints=OriginalDestination())
    routes = [route(None, action=to)]
    async with (
        running(Echo("out")) as (origin,),
        proxying(gateway_listener(), table(), *host_sections("all", ["*"], routes), nowhere) as proxy,
    ):
        reply = await proxy.get("/", f"localhost:{origin.port}")
        assert b"200 OK" in reply
        assert origin.seen[0]["host"] == "told.test"
        assert b"DF" not in await proxy.get("/", "127.0.0.1:1")


async def test_a_tcp_chain_relays_both_ways_and_passes_half_close_on() -> None:
    async def script(stream: trio.SocketStream, _: int) -> None:
        data = b"".join([part async for part in stream])
        await stream.send_all(b"%d:" % len(data) + data[-3:])
        await stream.send_eof()

    origin = Origin(script)
    chain = FilterChain("tcp", SOURCE, TcpChain((Destination("t"),), SOURCE))
    listener = Listener("tcp", SOURCE, "gateway", gateway_listener().bind, "tcp", (chain,))
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(listener, cluster("t", ("127.0.0.1", origin.port), protocol="tcp")) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await stream.send_all(b"x" * 2_000_000 + b"end")
            await stream.send_eof()
            assert b"".join([part async for part in stream]) == b"2000003:end"
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_drain_lets_the_reply_in_flight_finish_and_closes_idle_connections() -> None:
    release = trio.Event()

    async def script(stream: trio.SocketStream, _: int) -> None:
        await head_of(stream)
        await release.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            busy = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await busy.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            while not origin.connections:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(proxy.proxy.drain, 5.0)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
            reply = b"".join([part async for part in busy])
            assert reply.endswith(b"ok")
            assert b"connection: close" in reply
            await busy.aclose()
        nursery.cancel_scope.cancel()


async def test_drain_still_answers_a_request_that_was_on_its_way() -> None:
    async with (
        running(Echo("a")) as (origin,),
        proxying(*sections(origin.port)) as proxy,
        trio.open_nursery() as nursery,
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await stream.receive_some()
        nursery.start_soon(proxy.proxy.drain, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        reply = b"".join([part async for part in stream])
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply
        await stream.aclose()


async def test_drain_ends_what_does_not_end_at_its_deadline() -> None:
    async def script(stream: trio.SocketStream, _: int) -> None:
        await trio.sleep_forever()

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            while not origin.connections:
                await trio.lowlevel.checkpoint()
            with trio.fail_after(2):
                await proxy.proxy.drain(0.1)
            assert not proxy.proxy.plane.connections
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_metrics_and_the_access_log_tell_of_each_request(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    own = Proxy(workload=WORKLOAD, trust_domain="cluster.local", access_log=AccessLog(path=str(path)))
    async with (
        running(Echo("a")) as (origin,),
        proxying(own, *sections(origin.port, route(PathExact("/x"), "a"))) as proxy,
    ):
        await proxy.get("/x?q=1")
        await proxy.get("/none")
        samples = proxy.proxy.metrics().requests
        assert sorted(one.labels[21] for one in samples) == ["200", "404"]
    lines = path.read_text().splitlines()
    assert '"GET /x?q=1 HTTP/1.1" 200 - via_upstream' in lines[0]
    assert '"GET /none HTTP/1.1" 404 NR route_not_found' in lines[1]
