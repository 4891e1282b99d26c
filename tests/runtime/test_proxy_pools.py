"""Connection pools through a whole data plane: what their limits refuse, and how long their connections live."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from policies.balancing import KeepAlive, RetryBudget
from policies.traffic import Destination, Retry
from runtime.proxy import Proxy
from snapshot.section import FilterChain, Listener, PoolLimits, Section, TcpChain, WorkloadPort
from tests.h2_peer import Origin as Http2Origin
from tests.h2_peer import OriginConnection, connected, serving
from tests.runtime.proxying import Running, proxying
from tests.runtime.test_proxy_behaviours import Origin, Script, head_of, sections, with_
from tests.slices import SOURCE, cluster

pytestmark = pytest.mark.integration

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UNWELL = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what is waited for is a number in the proxy
        await trio.sleep(0.005)


@asynccontextmanager
async def behind(
    script: Script, *, retry: Retry | None = None, **limits: object
) -> AsyncIterator[tuple[Running, Origin]]:
    """A proxy before an origin, with these limits."""
    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        bounds = PoolLimits(**limits)  # type: ignore[arg-type]
        async with proxying(*sections(origin.port, with_(retry=retry), limits=bounds)) as proxy:
            yield proxy, origin
        nursery.cancel_scope.cancel()


def counted(proxy: Proxy, name: str) -> float:
    return sum(one.value for one in proxy.metrics().own if one.name == f"envoy_cluster_{name}")


async def answer_all(stream: trio.SocketStream, _: int) -> None:
    while await head_of(stream):
        await stream.send_all(OK)


async def at_once(proxy: Running, count: int) -> list[bytes]:
    """The status lines of so many requests, each on a connection of its own."""
    found: list[bytes] = []

    async def one() -> None:
        found.append((await proxy.get()).partition(b"\r\n")[0])

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return sorted(found)


@pytest.mark.parametrize(
    ("limits", "refused"), [({"max_requests": 2}, 3), ({"max_connections": 1, "max_pending_requests": 1}, 3)]
)
async def test_what_a_limit_refuses_is_answered_at_once_and_counted(limits: dict[str, int], refused: int) -> None:
    """One request is under way; of the four that follow, as many as there is room for wait or go with it."""
    under_way, gate = trio.Event(), trio.Event()

    async def slow(stream: trio.SocketStream, _: int) -> None:
        while await head_of(stream):
            under_way.set()
            await gate.wait()
            await stream.send_all(OK)

    found: list[bytes] = []
    async with behind(slow, **limits) as (proxy, _):

        async def one() -> None:
            found.append((await proxy.get()).lower())
            if len(found) == refused:
                gate.set()

        with trio.fail_after(5):
            async with trio.open_nursery() as clients:
                clients.start_soon(one)
                await under_way.wait()
                for _ in range(4):
                    clients.start_soon(one)
        assert all(reply.startswith(b"http/1.1 503") for reply in found[:refused])
        assert all(b"x-envoy-overloaded: true" in reply and b"overflow" in reply for reply in found[:refused])
        assert all(reply.startswith(b"http/1.1 200") for reply in found[refused:])
        assert counted(proxy.proxy, "upstream_rq_pending_overflow") == refused


async def test_a_connection_limit_makes_requests_wait_for_each_other() -> None:
    async with behind(answer_all, max_connections=1) as (proxy, origin):
        assert await at_once(proxy, 8) == [b"HTTP/1.1 200 OK"] * 8
        assert origin.connections == 1


async def test_a_connection_serves_as_many_requests_as_it_may() -> None:
    async with behind(answer_all, max_requests_per_connection=2) as (proxy, origin):
        for _ in range(5):
            await proxy.get()
        assert origin.connections == 3


async def test_a_connection_that_is_old_enough_takes_no_more_requests() -> None:
    async with behind(answer_all, max_duration_ms=60) as (proxy, origin):
        await proxy.get()
        await proxy.get()
        assert origin.connections == 1
        await trio.sleep(0.12)
        await proxy.get()
        assert origin.connections == 2


async def test_keep_alive_is_set_on_upstream_sockets() -> None:
    async with behind(answer_all, keep_alive=KeepAlive(4, 60, 9)) as (proxy, _):
        await proxy.get()
        (pool,) = proxy.proxy.plane.pools._pools.values()
        (connection,) = pool.connections
        sock = connection.channel.sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [4, 60, 9]


# --- retries -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"max_retries": 2}, 2),
        ({"retry_budget": RetryBudget(0, 1)}, 1),
        ({"retry_budget": RetryBudget(0, 3)}, 3),
        ({"retry_budget": RetryBudget(1_000_000, 0)}, 6),
        ({}, 6),
    ],
)
async def test_so_many_retries_are_under_way_at_once(limits: dict[str, object], most: int) -> None:
    """Six requests fail together, and their retries are held: who gets no place is answered with the failure, and flagged."""
    arrived, gate = 0, trio.Event()

    async def script(stream: trio.SocketStream, _: int) -> None:
        nonlocal arrived
        while await head_of(stream):
            arrived += 1
            mine = arrived
            if mine == 6:
                gate.set()
            if mine <= 6:
                await gate.wait()
                await stream.send_all(UNWELL)
            else:
                await trio.sleep(0.2)
                await stream.send_all(OK)

    retry = Retry(attempts=1, base_backoff_ms=0, max_backoff_ms=0)
    async with behind(script, retry=retry, **limits) as (proxy, _):
        statuses = await at_once(proxy, 6)
        assert statuses.count(b"HTTP/1.1 200 OK") == most
        assert counted(proxy.proxy, "upstream_rq_retry_overflow") == 6 - most
        loads = proxy.proxy.plane.pools._loads.values()
        assert [load.retries for load in loads] == [0]


async def test_retries_are_bounded_towards_an_upstream_that_is_told_of_each_client_too() -> None:
    async def unwell(stream: trio.SocketStream, _: int) -> None:
        await stream.receive_some()
        await stream.send_all(UNWELL)

    origin = Origin(unwell)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        retry = with_(retry=Retry(attempts=2, base_backoff_ms=0, max_backoff_ms=0))
        bounds = PoolLimits(max_retries=1)
        async with proxying(*sections(origin.port, retry, limits=bounds, proxy_protocol="v1")) as proxy:
            assert (await proxy.get()).startswith(b"HTTP/1.1 503")
            assert origin.connections > 1, "it was tried again"
        nursery.cancel_scope.cancel()


async def test_a_retry_that_nobody_waits_for_gives_its_place_back() -> None:
    async def unwell(stream: trio.SocketStream, _: int) -> None:
        while await head_of(stream):
            await stream.send_all(UNWELL)

    retry = Retry(attempts=3, base_backoff_ms=60_000, max_backoff_ms=60_000)
    async with behind(unwell, retry=retry, max_retries=5) as (proxy, _):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        loads = proxy.proxy.plane.pools._loads
        with trio.fail_after(5):
            await until(lambda: [load.retries for load in loads.values()] == [1])
            await stream.aclose()
            await until(lambda: [load.retries for load in loads.values()] == [0])


# --- HTTP/2 ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def multiplexed(origin: Http2Origin, **limits: int) -> AsyncIterator[Running]:
    async with (
        serving(origin),
        proxying(*sections(origin.port, protocol="http2", limits=PoolLimits(**limits))) as proxy,
    ):
        yield proxy


async def test_a_connection_carries_so_many_streams_at_once() -> None:
    origin = Http2Origin()
    async with multiplexed(origin, max_streams=2) as proxy, connected(proxy.ports[80]) as client:
        streams = [await client.request("/") for _ in range(6)]
        assert [(await client.answer(stream)).status for stream in streams] == [200] * 6
        assert 1 < origin.connections <= 4


async def test_an_http2_connection_serves_as_many_requests_as_it_may() -> None:
    origin = Http2Origin()
    async with multiplexed(origin, max_requests_per_connection=2) as proxy, connected(proxy.ports[80]) as client:
        for _ in range(6):
            assert (await client.get()).status == 200
        assert origin.connections == 3


async def test_a_connection_that_answers_pings_lives() -> None:
    def script(connection: OriginConnection, stream: int, head: dict[str, str], body: bytes) -> None:
        connection.respond(stream, b"ok")

    origin = Http2Origin(script)
    async with multiplexed(origin, ping_ms=30, ping_timeout_ms=30) as proxy, connected(proxy.ports[80]) as client:
        await client.get()
        await trio.sleep(0.2)
        await client.get()
        assert origin.connections == 1, "pings were answered, so the connection is the same"


async def test_a_connection_on_which_no_ping_comes_back_is_ended() -> None:
    async def mute(stream: trio.SocketStream, _: int) -> None:
        while await stream.receive_some(65_536):
            pass

    origin = Origin(mute)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        limits = PoolLimits(ping_ms=30, ping_timeout_ms=30)
        async with proxying(*sections(origin.port, protocol="http2", limits=limits)) as proxy:
            with trio.fail_after(3):
                reply = await proxy.get()
        assert reply.startswith(b"HTTP/1.1 503")
        nursery.cancel_scope.cancel()


# --- plain bytes -------------------------------------------------------------------------------------------------------------


def relaying(port: int, **limits: int) -> list[Section]:
    chain = FilterChain("tcp", SOURCE, TcpChain((Destination("a"),), SOURCE))
    listener = Listener("tcp", SOURCE, "gateway", WorkloadPort(80), "tcp", (chain,))
    return [listener, cluster("a", ("127.0.0.1", port), protocol="tcp", limits=PoolLimits(**limits))]


@asynccontextmanager
async def relayed(**limits: int) -> AsyncIterator[Running]:
    async def echo(stream: trio.SocketStream, _: int) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    origin = Origin(echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*relaying(origin.port, **limits)) as proxy:
            yield proxy
        nursery.cancel_scope.cancel()


async def closed(stream: trio.SocketStream) -> bool:
    with trio.move_on_after(3):
        try:
            return await stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True
    return False


async def test_a_tunnel_beyond_the_connection_limit_is_closed_and_does_not_wait() -> None:
    async with relayed(max_connections=1) as proxy:
        first = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        await first.send_all(b"x")
        assert await first.receive_some() == b"x"
        with suppress(OSError):  # It may be closed before this end has seen it open.
            second = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            assert await closed(second)
            await second.aclose()
        with trio.fail_after(3):
            await until(lambda: counted(proxy.proxy, "upstream_cx_overflow") == 1)
        await first.aclose()


@pytest.mark.parametrize("limit", ["tcp_idle_ms", "max_duration_ms"])
async def test_a_tunnel_ends_when_it_is_idle_or_old(limit: str) -> None:
    async with relayed(**{limit: 150}) as proxy:
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        begun = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for _ in range(4):
                await stream.send_all(b"x")
                if not await stream.receive_some():
                    break
                await trio.sleep(0.05)
        assert await closed(stream)
        lasted = trio.current_time() - begun
        assert (lasted > 0.3) == (limit == "tcp_idle_ms"), "an idle time starts anew with each byte, an age does not"
        await stream.aclose()
