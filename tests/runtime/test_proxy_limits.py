"""What bounds a data plane: slow readers, slow writers, too many connections, and its own bugs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio

from policies.traffic import Destination
from runtime.lane.channel import HIGH_WATER
from snapshot.section import Deadlines, FilterChain, Listener, Proxy, Section, TcpChain, WorkloadPort
from tests.echo import Echo, running
from tests.runtime.authority import Authority
from tests.runtime.proxying import proxying
from tests.runtime.test_proxy_behaviours import Origin, head_of, sections
from tests.slices import SOURCE, WORKLOAD, cluster

pytestmark = pytest.mark.integration


def own(**deadlines: int) -> Proxy:
    return Proxy(workload=WORKLOAD, trust_domain="cluster.local", deadlines=Deadlines(**deadlines))


async def test_a_slow_reader_stops_its_upstream_and_fills_no_memory() -> None:
    sent = 0

    async def script(stream: trio.SocketStream, _: int) -> None:
        nonlocal sent
        await head_of(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 100_000)
            sent += 100_000

    origin = Origin(script)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*sections(origin.port)) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            before = -1
            while sent != before:
                before = sent
                await trio.sleep(0.1)  # Until the origin stands still: the kernel's buffers on the way are full.
            queued = max(one.channel.queued for one in proxy.proxy.plane.connections)  # type: ignore[attr-defined]
            assert 0 < queued < HIGH_WATER + 2 * 65_536
            assert sent < 60_000_000
            received = 0
            while received < 70_000_000:
                received += len(await stream.receive_some())
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_head_that_does_not_come_in_time_is_408() -> None:
    async with running(Echo("a")) as (origin,), proxying(own(head_ms=60), *sections(origin.port)) as proxy:
        reply = await proxy.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n")
        assert reply.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_says_nothing_is_closed() -> None:
    quiet = own(head_ms=60, tls_handshake_ms=60)
    async with running(Echo("a")) as (origin,), proxying(quiet, *sections(origin.port)) as proxy:
        with trio.fail_after(2):
            try:
                assert await proxy.exchange(b"") == b""
            except trio.BrokenResourceError:
                pass
        assert not proxy.proxy.plane.connections


async def test_connections_beyond_the_limit_are_refused() -> None:
    async with running(Echo("a")) as (origin,), proxying(own(max_connections=2), *sections(origin.port)) as proxy:
        held = [await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) for _ in range(2)]
        for stream in held:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        try:
            assert await proxy.get() == b""
        except trio.BrokenResourceError:
            pass
        for stream in held:
            await stream.aclose()
        assert proxy.proxy.plane.instruments.value("weft_connection_refused_total", "too_many_connections") == 1


async def test_a_bug_costs_one_connection_and_is_counted() -> None:
    async with running(Echo("a")) as (origin,), proxying(*sections(origin.port)) as proxy:
        other = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        await other.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await other.receive_some()).startswith(b"HTTP/1.1 200")
        generation = proxy.proxy.plane.generation
        plans, generation._plans = generation._plans, None  # type: ignore[assignment]
        with pytest.raises(trio.BrokenResourceError):
            await proxy.get("/other")
        generation._plans = plans
        assert proxy.proxy.lane.bugs == 1
        proxy.proxy.lane.bugs = 0
        await other.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await other.receive_some()).startswith(b"HTTP/1.1 200")
        await other.aclose()


def through(port: int) -> list[Section]:
    chain = FilterChain(
        "through", SOURCE, TcpChain((Destination("tls"),), SOURCE), server_names=("through.test",), passthrough=True
    )
    listener = Listener("https", SOURCE, "gateway", WorkloadPort(443), "tcp", (chain,))
    return [listener, cluster("tls", ("127.0.0.1", port), protocol="tcp")]


async def test_tls_passes_through_by_server_name_undecrypted(tmp_path: Path) -> None:
    authority = Authority()
    credential = authority.credential("default/x", "through.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def script(stream: trio.SocketStream, _: int) -> None:
        tls = trio.SSLStream(stream, server, server_side=True)
        await tls.send_all(await tls.receive_some())
        await tls.aclose()

    (tmp_path / "server.pem").write_bytes(credential.certificate_chain + credential.private_key)
    server.load_cert_chain(tmp_path / "server.pem")
    origin = Origin(script)
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        async with proxying(*through(origin.port), ports=(443,)) as proxy:
            plain = await trio.open_tcp_stream("127.0.0.1", proxy.ports[443])
            tls = trio.SSLStream(plain, context, server_hostname="through.test")
            await tls.send_all(b"end to end")
            assert await tls.receive_some() == b"end to end"
            await trio.aclose_forcefully(tls)
        nursery.cancel_scope.cancel()
