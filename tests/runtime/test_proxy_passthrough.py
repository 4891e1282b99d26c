"""Where requests say themselves where they go, their clients make up the endpoints: what is kept of each has a bound."""

from __future__ import annotations

import msgspec
import pytest
import trio

from runtime.http.proxied import SWEEP_AT
from snapshot.section import FilterChain, HttpChain, Listener, OriginalDestination, ProxyPort
from tests.proxies import running
from tests.slices import SOURCE, cluster, slice_of, table

pytestmark = pytest.mark.integration
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer(stream: trio.SocketStream) -> None:
    async for _ in stream:
        await stream.send_all(REPLY)


async def test_pools_to_destinations_that_nobody_uses_are_let_go() -> None:
    chain = FilterChain("http", SOURCE, HttpChain("0", proxy=True))
    slice_ = slice_of(
        Listener("proxy", SOURCE, "outbound", ProxyPort(), "http", (chain,)),
        table("0", unmatched="PassthroughCluster"),
        msgspec.structs.replace(cluster("PassthroughCluster"), endpoints=OriginalDestination()),
    )
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="0.0.0.0")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        async with running(slice_) as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.ports["outbound"]) as stream:
            for number in range(3 * SWEEP_AT):
                host = f"127.9.{number // 200}.{number % 200 + 1}:{port}"
                await stream.send_all(f"GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            pools = proxy.proxy.plane.pools
            assert len(pools.by_place()) <= SWEEP_AT
            assert pools.connections <= SWEEP_AT
        nursery.cancel_scope.cancel()
