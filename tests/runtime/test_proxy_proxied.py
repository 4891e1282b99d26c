"""The PROXY protocol through a whole data plane: what comes in is believed where it is asked for, and what goes out says who came."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact
from policies.traffic import Destination
from runtime.proxy_protocol import Ends, write
from snapshot.section import FilterChain, Listener, PolicySet, Section, ServerTls, TcpChain
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
