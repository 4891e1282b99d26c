"""UDP through a real data plane on real sockets: who answers whom, what ends a session, and what a swap leaves alone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import trio

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact
from policies.traffic import Destination
from runtime.pages.connections import of_connections
from snapshot.index import Slice
from snapshot.section import (
    AccessLog,
    Cluster,
    Deadlines,
    Endpoint,
    FilterChain,
    GatewayPort,
    Listener,
    PolicySet,
    PoolLimits,
    Proxy,
    Section,
    ServiceName,
    StaticEndpoints,
    UdpChain,
)
from tests.proxies import Running, running
from tests.slices import SOURCE, WORKLOAD, slice_of

pytestmark = pytest.mark.integration
PATIENCE_S = 5.0
LARGEST = 65_507


class Echo:
    """An application that answers datagrams with its name and what it got. ``clients`` are who called, in order and once each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: dict[tuple[str, int], None] = {}
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            task_status.started()
            while True:
                data, client = await sock.recvfrom(65_536)
                self.clients[client] = None
                if data == b"three":
                    for part in (b"1", b"2", b"3"):
                        await sock.sendto(part, client)
                elif data != b"silent":
                    await sock.sendto(data if len(data) > 1000 else self.name.encode() + b" " + data, client)


@asynccontextmanager
async def echoes(*names: str) -> AsyncIterator[list[Echo]]:
    """Runs applications for the duration of a block."""
    found = [Echo(name) for name in names]
    async with trio.open_nursery() as nursery:
        for one in found:
            await nursery.start(one.serve)
        yield found
        nursery.cancel_scope.cancel()


def cluster(name: str, *ports: int, limits: PoolLimits = PoolLimits()) -> Cluster:  # noqa: B008  frozen
    endpoints = StaticEndpoints(tuple(Endpoint("127.0.0.1", port) for port in ports))
    service = ServiceName(f"{name}.test", name, "default")
    return Cluster(name, service, endpoints, (), port=53, protocol="udp", balance="round_robin", limits=limits)


def world(
    *clusters: Cluster, weights: tuple[int, ...] = (), chain: UdpChain | None = None, more: tuple[Section, ...] = ()
) -> Slice:
    """A gateway with one UDP listener on port 53 that leads to these clusters."""
    led = tuple(
        Destination(one.name, weight) for one, weight in zip(clusters, weights or (1,) * len(clusters), strict=True)
    )
    network = chain or UdpChain(led, SOURCE)
    listener = Listener(
        "gateway:53/udp",
        SOURCE,
        "gateway",
        GatewayPort(53, datagrams=True),
        "udp",
        (FilterChain("dns", SOURCE, network),),
    )
    return slice_of(listener, *clusters, *more)


@asynccontextmanager
async def client(proxy: Running, host: str = "127.0.0.1") -> AsyncIterator[trio.socket.SocketType]:
    """A client that takes answers from where it asked alone."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((host, 0))
        await sock.connect(("127.0.0.1", proxy.ports["53/udp"]))
        yield sock


async def ask(sock: trio.socket.SocketType, data: bytes) -> bytes:
    with trio.fail_after(PATIENCE_S):
        await sock.send(data)
        return await sock.recv(65_536)


async def until(happened: Callable[[], object]) -> None:
    """Waits for what nobody announces."""
    with trio.fail_after(PATIENCE_S):
        while not happened():  # noqa: ASYNC110
            await trio.sleep(0.005)


def counted(proxy: Running, name: str, label: str = "gateway:53/udp") -> float:
    proxy.proxy.metrics()
    return proxy.proxy.plane.instruments.value(name, label)


async def test_each_client_has_a_session_of_its_own_and_keeps_its_endpoint() -> None:
    async with echoes("a", "b") as (one, two), running(world(cluster("c", one.port, two.port))) as proxy:
        async with client(proxy) as first, client(proxy) as second:
            for number in (b"1", b"2", b"3"):
                answers = {await ask(first, number), await ask(second, number)}
                assert answers == {b"a " + number, b"b " + number}
            assert len(one.clients) == len(two.clients) == 1
            assert {shown.protocol for shown in of_connections(proxy.proxy.plane.connections)} == {"UDP"}
        assert counted(proxy, "envoy_udp_downstream_sess_total") == 2
        assert counted(proxy, "envoy_udp_downstream_sess_active") == 2
        assert counted(proxy, "envoy_udp_downstream_sess_rx_datagrams") == 6
        assert counted(proxy, "envoy_udp_downstream_sess_tx_bytes") == 18


async def test_one_datagram_may_have_several_answers() -> None:
    async with echoes("a") as (one,), running(world(cluster("c", one.port))) as proxy, client(proxy) as sock:
        assert await ask(sock, b"three") == b"1"
        assert [await sock.recv(9), await sock.recv(9)] == [b"2", b"3"]


async def test_the_largest_and_the_empty_datagram_pass_whole() -> None:
    async with echoes("a") as (one,), running(world(cluster("c", one.port))) as proxy, client(proxy) as sock:
        data = bytes(range(256)) * 256
        assert await ask(sock, data[:LARGEST]) == data[:LARGEST]
        assert await ask(sock, b"") == b"a "


async def test_a_listener_on_all_addresses_answers_from_the_one_that_was_called() -> None:
    async with echoes("a") as (one,), running(world(cluster("c", one.port)), every_address=True) as proxy:
        for host in ("127.0.0.1", "127.0.0.77"):
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                await sock.connect((host, proxy.ports["53/udp"]))
                assert await ask(sock, b"x") == b"a x"
        found = {shown.destination for shown in of_connections(proxy.proxy.plane.connections)}
        assert found == {"127.0.0.1:53", "127.0.0.77:53"}


async def test_sessions_are_shared_out_by_weight() -> None:
    async with echoes("a", "b", "c") as (one, two, three):
        clusters = (cluster("a", one.port), cluster("b", two.port), cluster("c", three.port))
        async with running(world(*clusters, weights=(3, 1, 0))) as proxy, AsyncExitStack() as stack:
            for _ in range(200):
                # All stay open: a port that is had again would be the client that had it before.
                await ask(await stack.enter_async_context(client(proxy)), b"x")
            assert len(one.clients) + len(two.clients) == 200
            assert 120 <= len(one.clients) <= 180
            assert not three.clients


async def test_a_session_ends_when_it_is_silent_and_is_logged(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("log") / "access.log"
    proxy_section = Proxy(workload=WORKLOAD, trust_domain="cluster.local", access_log=AccessLog(str(log)))
    async with echoes("a") as (one,):
        slice_ = world(cluster("c", one.port, limits=PoolLimits(tcp_idle_ms=50)), more=(proxy_section,))
        async with running(slice_) as proxy, client(proxy) as sock:
            assert await ask(sock, b"abc") == b"a abc"
            await until(lambda: not proxy.proxy.plane.connections)
            assert counted(proxy, "envoy_udp_idle_timeout") == 1
            # A client that comes back is served anew.
            assert await ask(sock, b"abc") == b"a abc"
    line, *_ = log.read_text().splitlines()
    assert " 3 5 " in line
    assert f'"127.0.0.1:{one.port}" c ' in line


async def test_beyond_the_bound_the_session_that_was_silent_longest_ends() -> None:
    async with echoes("a") as (one,):
        chain = UdpChain((Destination("c"),), SOURCE, max_sessions=2)
        async with running(world(cluster("c", one.port), chain=chain)) as proxy:
            async with client(proxy) as first, client(proxy) as second, client(proxy) as third:
                for sock in (first, second, first, third):
                    assert await ask(sock, b"x") == b"a x"
                ports = {shown.source.rpartition(":")[2] for shown in of_connections(proxy.proxy.plane.connections)}
                assert ports == {str(first.getsockname()[1]), str(third.getsockname()[1])}


async def test_sessions_leave_half_of_a_workers_connections_to_others() -> None:
    about = Proxy(workload=WORKLOAD, trust_domain="cluster.local", deadlines=Deadlines(max_connections=4))
    async with echoes("a") as (one,), running(world(cluster("c", one.port), more=(about,))) as proxy:
        async with client(proxy) as first, client(proxy) as second, client(proxy) as third:
            for sock in (first, second, third):
                assert await ask(sock, b"x") == b"a x"
            assert proxy.proxy.plane.sessions == len(proxy.proxy.plane.connections) == 2


async def test_a_clusters_limit_of_connections_holds_for_sessions() -> None:
    async with echoes("a") as (one,):
        async with running(world(cluster("c", one.port, limits=PoolLimits(max_connections=1)))) as proxy:
            async with client(proxy) as first, client(proxy) as second:
                assert await ask(first, b"x") == b"a x"
                await second.send(b"x")
                assert await ask(first, b"y") == b"a y"
                assert counted(proxy, "envoy_cluster_upstream_cx_overflow", "c") == 1
                assert len(one.clients) == 1


async def test_an_endpoint_that_refuses_ends_the_session_and_the_next_datagram_begins_anew() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        refusing = gone.getsockname()[1]
    async with echoes("a") as (one,), running(world(cluster("c", refusing, one.port))) as proxy, client(proxy) as sock:
        await sock.send(b"lost")
        assert await ask(sock, b"x") == b"a x"
        assert counted(proxy, "envoy_udp_downstream_sess_total") == 2
        assert counted(proxy, "envoy_udp_downstream_sess_rx_errors") == 1


async def test_what_leads_nowhere_is_dropped_and_counted() -> None:
    chain = UdpChain((Destination("", status=500),), SOURCE)
    async with running(world(chain=chain)) as proxy, client(proxy) as sock:
        await sock.send(b"x")
        await until(lambda: counted(proxy, "envoy_udp_downstream_sess_no_route"))
    async with running(world(cluster("empty"))) as proxy, client(proxy) as sock:
        await sock.send(b"x")
        await until(lambda: counted(proxy, "envoy_cluster_upstream_cx_none_healthy", "empty"))


async def test_a_policy_decides_who_may_begin_a_session() -> None:
    rule = Rule(SOURCE, ((Clause("source.ip", (Exact("127.0.0.66"),)),),), (), ())
    policies = PolicySet("all", (AuthorizationPolicy(SOURCE, Action.DENY, (rule,)),))
    async with echoes("a") as (one,):
        chain = UdpChain((Destination("c"),), SOURCE, "all")
        async with running(world(cluster("c", one.port), chain=chain, more=(policies,))) as proxy:
            async with client(proxy, "127.0.0.66") as denied, client(proxy) as let_in:
                await denied.send(b"x")
                assert await ask(let_in, b"y") == b"a y"
                assert counted(proxy, "weft_connection_refused_total", "datagram_denied") == 1
                assert len(one.clients) == 1


async def test_a_swap_keeps_the_sessions_that_it_is_not_about() -> None:
    async with echoes("a", "b") as (one, two):
        before = cluster("c", one.port)
        async with running(world(before)) as proxy, client(proxy) as sock:
            await ask(sock, b"x")
            # Another endpoint joins: who has one keeps it.
            await proxy.load(world(cluster("c", one.port, two.port)))
            assert await ask(sock, b"y") == b"a y"
            assert len(one.clients) == 1
            # Its endpoint leaves.
            await proxy.load(world(cluster("c", two.port)))
            assert await ask(sock, b"z") == b"b z"
            # The route leads elsewhere.
            await proxy.load(world(cluster("d", one.port)))
            assert await ask(sock, b"z") == b"a z"
            assert len(one.clients) == 2


async def test_an_answer_that_is_under_way_comes_though_its_endpoint_has_gone() -> None:
    async with echoes("a", "b") as (one, two), running(world(cluster("c", one.port))) as proxy, client(proxy) as sock:
        await ask(sock, b"silent then")
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            await late.bind(("127.0.0.1", 0))
            port = late.getsockname()[1]
            await proxy.load(world(cluster("c", port)))
            await sock.send(b"x")
            with trio.fail_after(PATIENCE_S):
                _, session = await late.recvfrom(9)
                await proxy.load(world(cluster("c", two.port)))
                await late.sendto(b"late", session)
                assert await sock.recv(9) == b"late"
        assert await ask(sock, b"y") == b"b y"


async def test_a_drain_lets_answers_come_and_does_not_wait_for_the_silent() -> None:
    async with echoes("a") as (one,), running(world(cluster("c", one.port))) as proxy, client(proxy) as sock:
        await ask(sock, b"x")
        begin = trio.current_time()
        await proxy.proxy.drain(PATIENCE_S)
        assert not proxy.proxy.plane.connections
        assert trio.current_time() - begin < PATIENCE_S - 1


async def test_a_listener_that_goes_ends_its_sessions() -> None:
    async with echoes("a") as (one,), running(world(cluster("c", one.port))) as proxy, client(proxy) as sock:
        await ask(sock, b"x")
        proxy.proxy.swap(await proxy.proxy.prepare(slice_of(cluster("c", one.port))))
        await until(lambda: not proxy.proxy.plane.connections)


def test_a_udp_listener_is_a_section_like_others() -> None:
    slice_ = world(cluster("c", 1))
    assert msgspec.json.encode(slice_.index)
