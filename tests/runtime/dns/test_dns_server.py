"""The server on real sockets, asked by a real client, with resolvers that answer, lie, are silent, or lead back to it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio
import trio.testing

from policies.source import SourceRef
from runtime.bootstrap import Bootstrap, Ports
from runtime.dns.forwarding import Forwarder, ForwardError
from runtime.dns.ports import bind, release
from runtime.dns.resolv_conf import Resolvers
from runtime.dns.server import DnsProxy
from runtime.telemetry import Instruments
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload, Registry
from snapshot.section import Cluster, Name, NameTable, RegisteredEndpoints, ServiceName
from tests.compiler.compiled import conformance

pytestmark = pytest.mark.integration

SOURCE = SourceRef("Service", "ns1", "a")
TABLE = NameTable(
    "ns1",
    (
        Name(("www.shop.test",), SOURCE, ("1.1.1.1",)),
        Name(("ext.test",), SOURCE, alias="www.outside.test"),
        Name(("headless.test",), SOURCE, cluster="outbound|80||headless.test"),
    ),
)
HEADLESS = Cluster(
    "outbound|80||headless.test",
    ServiceName("headless.test", "headless", "ns1"),
    RegisteredEndpoints("ns1", (("app", "h"),), port=80),
    (SOURCE,),
)
Reply = Callable[[bytes, bool], list[bytes]]
"""What a resolver says to a query, over a stream or not: any number of datagrams, or the first of them."""


def honest(wire: bytes, stream: bool) -> list[bytes]:
    del stream
    asked = dns.message.from_wire(wire)
    reply = dns.message.make_response(asked)
    name = asked.question[0].name.to_text()
    if name == "www.outside.test.":
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "9.9.9.9"))
    elif name == "giant.test.":
        known = [f"240.0.0.{number}" for number in range(200)]
        reply.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", known))
    else:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return [reply.to_wire(max_size=65_535)]


def cut(wire: bytes, stream: bool) -> list[bytes]:
    """All of it over a stream; over datagrams nothing but that there is more."""
    (reply,) = honest(wire, stream)
    if stream:
        return [reply]
    asked = dns.message.from_wire(wire)
    short = dns.message.make_response(asked)
    short.flags |= dns.flags.TC
    return [short.to_wire()]


def lying(wire: bytes, stream: bool) -> list[bytes]:
    """What an attacker would try first, then the truth."""
    (true,) = honest(wire, stream)
    other = dns.message.make_response(dns.message.make_query("evil.test.", "A"))
    other.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "A", "6.6.6.6"))
    wrong_id = struct.pack("!H", (struct.unpack_from("!H", true)[0] + 1) % 65_536) + true[2:]
    return [wrong_id, true[:2] + other.to_wire()[2:], wire, b"", true]


def refusing(wire: bytes, stream: bool) -> list[bytes]:
    del stream
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.set_rcode(dns.rcode.REFUSED)
    return [reply.to_wire()]


def silent(wire: bytes, stream: bool) -> list[bytes]:
    del wire, stream
    return []


@asynccontextmanager
async def resolver(say: Reply) -> AsyncIterator[str]:
    """A server that says so, over UDP and TCP on one port."""
    held = trio.socket.socket()
    await held.bind(("127.0.0.1", 0))
    held.listen(8)
    address = held.getsockname()
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await sock.bind(address)

    async def datagrams() -> None:
        while True:
            wire, peer = await sock.recvfrom(4096)
            for reply in say(wire, False):
                await sock.sendto(reply, peer)

    async def stream(conn: trio.SocketStream) -> None:
        async with conn:
            head = await conn.receive_some(2)
            wire = await conn.receive_some(struct.unpack("!H", head)[0])
            for reply in say(bytes(wire), True)[:1]:
                await conn.send_all(struct.pack("!H", len(reply)) + reply)

    with sock, held:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(datagrams)
            nursery.start_soon(trio.serve_listeners, stream, [trio.SocketListener(held)])
            yield f"127.0.0.1:{address[1]}"
            nursery.cancel_scope.cancel()


class Asked:
    """A server that runs. ``ask`` is a real client of it."""

    def __init__(self, proxy: DnsProxy, port: int, instruments: Instruments) -> None:
        self.proxy = proxy
        self.port = port
        self.instruments = instruments

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False, payload: int = 0) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=0 if payload else False, payload=payload or 1232)
        over = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await over(query, "127.0.0.1", timeout=8, port=self.port)

    async def addresses(self, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
        reply = await self.ask(name, kind, tcp=tcp)
        return sorted(row.to_text() for rows in reply.answer for row in rows)


@asynccontextmanager
async def serving(*resolvers: str, port: int = 0) -> AsyncIterator[Asked]:
    bootstrap = Bootstrap(
        Selector(), "", "", "", ports=Ports(dns=port), resolvers=resolvers, resolv_conf="/nonexistent/resolv.conf"
    )
    held: dict[str, socket.socket] = {}
    sockets = bind(bootstrap, held)
    instruments = Instruments()
    proxy = DnsProxy(bootstrap, instruments, has_ipv6=False)
    proxy.use(proxy.prepare((TABLE,)), {HEADLESS.name: HEADLESS})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.serve, sockets)
            await trio.testing.wait_all_tasks_blocked()
            yield Asked(proxy, sockets[0].getsockname()[1], instruments)
            nursery.cancel_scope.cancel()
    finally:
        release(held)


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_of_the_mesh_and_others_are_answered_over_both_transports(tcp: bool) -> None:
    async with resolver(honest) as upstream, serving(upstream) as server:
        assert await server.addresses("WWW.shop.test", tcp=tcp) == ["1.1.1.1"]
        assert await server.addresses("www.shop.test", "AAAA", tcp=tcp) == []
        assert await server.addresses("www.outside.test", tcp=tcp) == ["9.9.9.9"]
        assert await server.addresses("ext.test", tcp=tcp) == ["9.9.9.9", "www.outside.test."]
        assert (await server.ask("nobody.test", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN
        count = server.instruments.value
        assert (count("dns_requests_total"), count("dns_upstream_requests_total")) == (5, 3)
        assert count("dns_upstream_failures_total") == 0


async def test_headless_names_follow_the_registry() -> None:
    async with resolver(honest) as upstream, serving(upstream) as server:
        assert (await server.ask("headless.test")).rcode() == dns.rcode.NXDOMAIN
        one = RegisteredWorkload("ns1", "h-1", "10.0.0.1", (("app", "h"),), "", ports=(("80", 80),))
        two = RegisteredWorkload("ns1", "h-2", "10.0.0.2", (("app", "h"),), "", ports=(("80", 80),))
        server.proxy.take_registry(Registry(1, (one, two)))
        assert await server.addresses("headless.test") == ["10.0.0.1", "10.0.0.2"]
        server.proxy.take_registry(Registry(2, (two,)))
        assert await server.addresses("headless.test") == ["10.0.0.2"]


async def test_a_cut_reply_is_asked_for_again_over_tcp_and_cut_to_what_the_client_takes() -> None:
    async with resolver(cut) as upstream, serving(upstream) as server:
        short = await server.ask("giant.test")
        assert short.flags & dns.flags.TC
        assert len(short.answer[0]) >= 20
        assert len((await server.ask("giant.test", payload=4096)).answer[0]) == 200
        assert len((await server.ask("giant.test", tcp=True)).answer[0]) == 200


async def test_only_the_true_reply_is_passed_on() -> None:
    async with resolver(lying) as upstream, serving(upstream) as server:
        assert await server.addresses("www.outside.test") == ["9.9.9.9"]


async def test_the_next_resolver_is_asked_where_one_refuses_or_is_not_there() -> None:
    async with resolver(refusing) as first, resolver(honest) as second, serving("127.0.0.1:1", first, second) as server:
        assert await server.addresses("www.outside.test") == ["9.9.9.9"]
    async with resolver(refusing) as first, serving(first) as server:
        assert (await server.ask("www.outside.test")).rcode() == dns.rcode.REFUSED


async def test_without_a_resolver_what_is_not_known_fails_and_what_is_known_does_not() -> None:
    async with serving() as server:
        assert (await server.ask("www.outside.test")).rcode() == dns.rcode.SERVFAIL
        assert await server.addresses("www.shop.test") == ["1.1.1.1"]
        assert server.instruments.value("dns_upstream_failures_total") == 1


async def test_one_who_waits_holds_up_nobody() -> None:
    async with resolver(silent) as upstream, serving(upstream) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.ask, "www.outside.test")
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(1):
                assert await server.addresses("www.shop.test") == ["1.1.1.1"]
                assert await server.addresses("www.shop.test", tcp=True) == ["1.1.1.1"]
            nursery.cancel_scope.cancel()


async def test_a_resolver_that_leads_back_here_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """As where the proxy's own queries are redirected to it: a relay between two ports that keeps the client's address is such a resolver."""
    async with serving() as server:
        server.proxy._named = (("127.0.0.1", server.port),)
        server.proxy._own = set()
        with trio.fail_after(2):
            assert (await server.ask("www.outside.test")).rcode() == dns.rcode.SERVFAIL
    assert "came back" in caplog.text


async def test_the_server_never_asks_itself() -> None:
    async with serving() as server:
        server.proxy._named = (("127.0.0.1", server.port), ("127.0.0.9", 53))
        assert server.proxy.resolvers().servers == (("127.0.0.9", 53),)


async def test_what_is_no_query_is_refused_and_a_stream_that_says_nonsense_is_closed() -> None:
    async with serving() as server:
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
            await sock.connect(("127.0.0.1", server.port))
            for nonsense in (b"", b"x", b"\x00\x07\x80" + bytes(9)):
                await sock.send(nonsense)
            await sock.send(b"\x00\x09" + bytes(10) + b"rest")
            assert (await sock.recv(100))[:4] == b"\x00\x09\x80\x01"
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(b"\xff\xff" + bytes(100))
            with trio.fail_after(2):
                try:
                    assert await stream.receive_some(10) == b""
                except trio.BrokenResourceError:
                    pass  # Closed with bytes unread.
        assert await server.addresses("www.shop.test") == ["1.1.1.1"]


async def test_more_streams_than_are_served_are_closed_and_the_others_go_on() -> None:
    async with serving() as server:
        kept = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(128)]
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as refused:
            with trio.fail_after(2):
                assert await refused.receive_some(1) == b""
        query = dns.message.make_query("www.shop.test", "A").to_wire()
        await kept[0].send_all(struct.pack("!H", len(query)) + query)
        assert len(await kept[0].receive_some(100)) > 12
        for one in kept:
            await one.aclose()


def timeouts() -> list[tuple[float, float, float]]:
    """Istio's own rows: how long an upstream may take, and between what and what the failure then comes."""
    rows = json.loads(conformance("tables", "dns.json").read_text())["tables"][1]["rows"]
    return [tuple(float(row[key].rstrip("s")) for key in ("timeout", "minDuration", "maxDuration")) for row in rows]  # type: ignore[misc]


async def test_a_silent_upstream_is_given_up_when_its_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        for limit, least, most in timeouts():
            asked = Resolvers((mute.getsockname(),), "", limit, 1)
            forwarder = Forwarder(lambda found=asked: found, Instruments())  # type: ignore[misc]
            began = trio.current_time()
            with pytest.raises(ForwardError):
                await forwarder.ask(dns.message.make_query("a.test", "A").to_wire(), stream=False)
            assert least <= trio.current_time() - began <= most


async def test_a_query_that_came_back_once_is_asked_again_from_another_port() -> None:
    """As where the kernel still takes the port for that of an application's query, which it redirects."""
    peers: list[tuple[str, int]] = []
    with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        found = Resolvers((sock.getsockname(),))
        forwarder = Forwarder(lambda: found, Instruments())

        async def server() -> None:
            while True:
                wire, peer = await sock.recvfrom(4096)
                peers.append(peer)
                back = len(peers) == 1 and forwarder.came_back(peer)
                await sock.sendto((refusing if back else honest)(wire, False)[0], peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server)
            query = dns.message.make_query("www.outside.test", "A").to_wire()
            reply = dns.message.from_wire(await forwarder.ask(query, stream=False))
            nursery.cancel_scope.cancel()
    assert (reply.answer[0][0].to_text(), len(peers)) == ("9.9.9.9", 2)
    assert not forwarder.came_back(peers[1])
