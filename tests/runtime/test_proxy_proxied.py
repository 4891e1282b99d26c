"""The PROXY protocol through a whole data plane: what comes in is believed where it is asked for, and what goes out says who came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact
from policies.traffic import Destination
from runtime.http.proxied import SWEEP_AT
from runtime.proxy_protocol import Ends, read, write
from snapshot.live import Credential
from snapshot.section import FilterChain, Listener, PolicySet, Section, ServerTls, TcpChain, TlsUpstream
from tests.echo import Echo, running
from tests.runtime.authority import Authority
from tests.runtime.envoying import envoying
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration
SAID = Ends("192.0.2.1", 40000, "198.51.100.2", 443)
GET = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"


def gateway(port: int, *, policies: tuple[PolicySet, ...] = (), tls: ServerTls | None = None) -> list[Section]:
    listener = gateway_listener(policies=policies[0].name if policies else "", edge=True)
    chain = msgspec.structs.replace(listener.chains[0], tls=tls)
    listener = msgspec.structs.replace(listener, chains=(chain,), proxy_protocol=True)
    hosts = host_sections("all", ["*"], [route(None, "a")])
    return [listener, table(), *hosts, cluster("a", ("127.0.0.1", port)), *policies]


@pytest.mark.parametrize("engine", ["trio", "envoy"])
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_address_that_the_hop_before_names_is_the_clients(version: str, engine: str, tmp_path: Path) -> None:
    async with running(Echo("app")) as (origin,):
        sections = gateway(origin.port)
        started = envoying(tmp_path, *sections) if engine == "envoy" else proxying(*sections)
        async with started as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            await stream.send_all(write(version, SAID) + GET)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert origin.seen[-1]["headers"]["x-forwarded-for"] == ["192.0.2.1"]  # type: ignore[index]


async def test_a_header_in_pieces_and_one_of_the_hops_own_are_taken() -> None:
    async with running(Echo("app")) as (origin,), proxying(*gateway(origin.port)) as proxy:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            for byte in b"PROXY UNKNOWN\r\n":
                await stream.send_all(bytes((byte,)))
            await stream.send_all(GET)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert origin.seen[0]["headers"]["x-forwarded-for"] == ["127.0.0.1"]  # type: ignore[index]


@pytest.mark.parametrize("first", [GET, b"PROXY TCP4 nonsense\r\n" + GET])
async def test_a_connection_without_a_good_header_is_closed(first: bytes) -> None:
    async with running(Echo("app")) as (origin,), proxying(*gateway(origin.port)) as proxy:
        assert await ended(proxy, first)
        assert origin.seen == []
        assert proxy.proxy.plane.instruments.value("weft_connection_refused_total", "proxy_protocol") == 1


async def ended(proxy: Running, data: bytes) -> bool:
    """True where the connection ends without a byte."""
    try:
        return await proxy.exchange(data) == b""
    except trio.BrokenResourceError:
        return True


@pytest.mark.parametrize(
    ("attribute", "value", "status"),
    [("remote.ip", "192.0.2.1", 403), ("source.ip", "127.0.0.1", 403), ("source.ip", "192.0.2.1", 200)],
)
async def test_policies_tell_the_client_from_the_hop_before(attribute: str, value: str, status: int) -> None:
    rule = Rule(source=SOURCE, sources=((Clause(attribute, (Exact(value),)),),))
    policies = PolicySet("p", (AuthorizationPolicy(SOURCE, Action.DENY, (rule,)),))
    async with running(Echo("app")) as (origin,), proxying(*gateway(origin.port, policies=(policies,))) as proxy:
        reply = await proxy.exchange(write("v2", SAID) + GET)
        assert reply.startswith(b"HTTP/1.1 %d " % status)


async def test_a_header_comes_before_tls() -> None:
    authority = Authority()
    sections = gateway(1, tls=ServerTls(("default/edge",)))
    async with running(Echo("app")) as (origin,):
        sections[-1] = cluster("a", ("127.0.0.1", origin.port))
        async with proxying(*sections) as proxy:
            proxy.proxy.set_credentials([authority.credential("default/edge", "a.test")])
            raw = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            await raw.send_all(write("v2", SAID))
            stream = trio.SSLStream(raw, authority.client_context(), server_hostname="a.test", https_compatible=True)
            await stream.send_all(GET)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            await trio.aclose_forcefully(stream)
        assert origin.seen[0]["headers"]["x-forwarded-for"] == ["192.0.2.1"]  # type: ignore[index]


async def test_a_server_that_speaks_first_waits_for_the_header_alone() -> None:
    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"hello\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet, listeners)
        chain = FilterChain("tcp", SOURCE, TcpChain((Destination("a"),), SOURCE))
        listener = msgspec.structs.replace(gateway_listener(), protocol="tcp", chains=(chain,), proxy_protocol=True)
        assert isinstance(listener, Listener)
        origin = cluster("a", ("127.0.0.1", listeners[0].socket.getsockname()[1]), protocol="tcp")
        async with proxying(listener, origin) as proxy:
            async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
                await stream.send_all(write("v1", SAID))
                assert await stream.receive_some() == b"hello\n"
        nursery.cancel_scope.cancel()


def through(port: int, version: str, protocol: str, **fields: object) -> list[Section]:
    """A plain gateway whose upstream is told who came."""
    hosts = host_sections("all", ["*"], [route(None, "a")])
    target = cluster("a", ("127.0.0.1", port), protocol=protocol, proxy_protocol=version, **fields)
    return [gateway_listener(), table(), *hosts, target]


class Told:
    """An origin that reads a header first and then speaks HTTP/1.1; what headers and how many requests each of its connections had."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int]] = []
        self.requests = 0
        self.port = 0

    async def connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = await stream.receive_some()
            found = read(data)
            while found is None:
                data += await stream.receive_some()
                found = read(data)
            assert found[0] is not None
            self.ends.append((found[0].source_ip, found[0].source_port))
            data = data[found[1] :]
            while True:
                while b"\r\n\r\n" not in data:
                    more = await stream.receive_some()
                    if not more:
                        return
                    data += more
                data = data.partition(b"\r\n\r\n")[2]
                self.requests += 1
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@asynccontextmanager
async def telling() -> AsyncIterator[Told]:
    told = Told()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        told.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, told.connection, listeners)
        yield told
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream) -> bytes:
    await stream.send_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
    reply = b""
    while not reply.endswith(b"ok"):
        more = await stream.receive_some()
        assert more, reply
        reply += more
    return reply


@pytest.mark.parametrize("engine", ["trio", "envoy"])
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_upstream_is_told_of_each_client_on_connections_of_its_own(
    version: str, engine: str, tmp_path: Path
) -> None:
    async with telling() as told:
        sections = through(told.port, version, "http1")
        started = envoying(tmp_path, *sections) if engine == "envoy" else proxying(*sections)
        async with started as proxy:
            one = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            other = await trio.open_tcp_stream("127.0.0.1", proxy.ports[80])
            async with one, other:
                for _ in range(3):
                    for stream in (one, other):
                        assert (await ask(stream)).startswith(b"HTTP/1.1 200 ")
                ends = {("127.0.0.1", stream.socket.getsockname()[1]) for stream in (one, other)}
        assert set(told.ends) == ends
        assert (len(told.ends), told.requests) == (2, 6)


async def test_the_header_comes_before_tls_to_an_upstream() -> None:
    authority = Authority()
    found: list[Ends | None] = []
    server = authority.server_context(authority.credential("x", "a.test"))

    async def serve(raw: trio.SocketStream) -> None:
        async with raw:
            header = b""
            while (first := read(header) if header else None) is None:
                header += await raw.receive_some(1)
            found.append(first[0])
            stream = trio.SSLStream(raw, server, server_side=True, https_compatible=True)
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        tls = TlsUpstream(server_name="a.test", names=("a.test",), ca="default/ca")
        async with proxying(*through(port, "v2", "http1", tls=tls)) as proxy:
            proxy.proxy.set_credentials([Credential("default/ca", ca=authority.bundle)])
            async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
                await ask(stream)
                assert found[0] is not None
                assert (found[0].source_ip, found[0].source_port) == ("127.0.0.1", stream.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def test_pools_of_clients_that_have_left_are_let_go() -> None:
    async with telling() as told, proxying(*through(told.port, "v1", "http1")) as proxy:
        for _ in range(3 * SWEEP_AT):
            async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
                await ask(stream)
        left = len(proxy.proxy.plane.pools._pools)
        assert left <= 2 * SWEEP_AT + 1
