"""Ports whose protocol nobody declared: what a client says first, also inside mutual TLS, or that it says nothing, decides."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from policies.traffic import Destination
from snapshot.section import (
    Deadlines,
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    Proxy,
    Section,
    TcpChain,
    WorkloadPort,
)
from tests.echo import Echo, running
from tests.runtime.authority import Authority, identity
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, WORKLOAD, cluster, host_sections, route, table

pytestmark = pytest.mark.integration
ABOUT = Proxy(
    workload=msgspec.structs.replace(WORKLOAD, identity=identity("server")),
    trust_domain="cluster.local",
    deadlines=Deadlines(sniff_ms=50),
)


def undeclared(http: int, tcp: int, *tls: MeshTls | None) -> list[Section]:
    """An inbound port of unknown protocol, each way of TLS as HTTP and as TCP."""
    chains = []
    for number, way in enumerate(tls):
        chains.append(FilterChain(f"{number}-http", SOURCE, HttpChain(routes="80"), tls=way))
        chains.append(FilterChain(f"{number}-tcp", SOURCE, TcpChain((Destination("tcp"),), SOURCE), tls=way))
    listener = Listener("inbound", SOURCE, "inbound", WorkloadPort(80), "auto", tuple(chains))
    hosts = host_sections("all", ["*"], [route(None, "http")])
    clusters = [cluster("http", ("127.0.0.1", http)), cluster("tcp", ("127.0.0.1", tcp), protocol="tcp")]
    return [ABOUT, listener, table(), *hosts, *clusters]


async def greeting(stream: trio.SocketStream) -> None:
    """A server that speaks first, as those of databases and mail do, then says back what it hears."""
    async with stream:
        await stream.send_all(b"hello, I am first\n")
        async for data in stream:
            await stream.send_all(b"heard " + data)


@asynccontextmanager
async def serving(*tls: MeshTls | None) -> AsyncIterator[tuple[Running, Authority]]:
    authority = Authority()
    async with running(Echo("app")) as (origin,), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greeting, listeners)
        port = listeners[0].socket.getsockname()[1]
        async with proxying(*undeclared(origin.port, port, *tls)) as proxy:
            proxy.proxy.set_svid(authority.svid(identity("server")))
            yield proxy, authority
        nursery.cancel_scope.cancel()


async def inside_tls(proxy: Running, authority: Authority, *alpn: str) -> trio.SSLStream[trio.SocketStream]:
    svid = authority.svid(identity("client"))
    context = authority.client_context(svid)
    context.set_alpn_protocols(list(alpn))
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]), context)
    await stream.do_handshake()
    return stream


GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize("alpn", [(), ("istio-http/1.1", "istio")])
async def test_http_inside_mutual_tls_takes_the_http_chain(alpn: tuple[str, ...]) -> None:
    async with serving(MeshTls()) as (proxy, authority):
        stream = await inside_tls(proxy, authority, *alpn)
        await stream.send_all(GET)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        await trio.aclose_forcefully(stream)


async def test_other_bytes_inside_mutual_tls_take_the_tcp_chain() -> None:
    async with serving(MeshTls()) as (proxy, authority):
        stream = await inside_tls(proxy, authority)
        await stream.send_all(b"\x00\x01\x02\x03")
        said = b""
        while b"heard" not in said:
            said += await stream.receive_some()
        assert said == b"hello, I am first\nheard \x00\x01\x02\x03"
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("tls", [MeshTls(), None], ids=["mtls", "plain"])
async def test_a_silent_client_hears_a_server_that_speaks_first(tls: MeshTls | None) -> None:
    async with serving(tls) as (proxy, authority):
        stream: trio.abc.Stream = (
            await inside_tls(proxy, authority) if tls else await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        )
        with trio.fail_after(2):
            assert await stream.receive_some() == b"hello, I am first\n"
            await stream.send_all(b"hello back")
            assert await stream.receive_some() == b"heard hello back"
        await trio.aclose_forcefully(stream)


async def test_a_silent_client_of_a_permissive_tcp_port_hears_the_server_too() -> None:
    """A plain client of a port that also takes mutual TLS, the case in which sidecars have always stalled."""
    async with serving(MeshTls(), None) as (proxy, _):
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        with trio.fail_after(2):
            assert await stream.receive_some() == b"hello, I am first\n"
        await stream.aclose()


async def test_a_client_hello_that_comes_slowly_is_not_taken_for_silence() -> None:
    async with serving(MeshTls(), None) as (proxy, authority):
        context = authority.client_context(authority.svid(identity("client")))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
        await stream.send_all(hello[:20])
        await trio.sleep(
            0.15
        )  # Longer than a silent client is given: nothing else could show that it was not taken for one.
        await stream.send_all(hello[20:])
        assert (await stream.receive_some())[:1] == b"\x16"
        await stream.aclose()
