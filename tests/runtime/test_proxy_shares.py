"""How a running proxy shares requests out: 20,000 of them by every way to choose, no share more than two points of a hundred off.

Nothing here looks into the proxy: origins at addresses of their own answer with a number, and who asks counts the numbers.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from policies.balancing import LocalityLoad, Warmup
from policies.match import PathPrefix
from policies.traffic import Destination, Forward
from snapshot.section import Cluster, ConsistentHash, Endpoint, Section, ServiceName, StaticEndpoints
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration

REQUESTS = 20_000
OFF = 0.02
"""Of a share of 1; a fair draw is off by more than that once in many thousands of runs."""
CONNECTIONS = 8
AT_ONCE = 50
"""Requests that stand in line on one connection: the proxy takes them one after the other, and the test has fewer waits."""
ADDRESSES = [f"127.77.0.{number + 1}" for number in range(6)]
OWN = "r1/z1/s1"
LOCALITIES = (OWN, OWN, "r1/z2/s1", "r1/z2/s1", "r2/z1/s1", "r2/z1/s1")
DISTRIBUTION = (("r1/z1/*", (("r1/z1/*", 70), ("r1/z2/*", 20), ("r2/*", 10))),)
SHARES = {
    "round_robin": (0.25, 0.25, 0.25, 0.25),
    "round_robin_weighted": (0.1, 0.3, 0.6),
    "random": (0.25, 0.25, 0.25, 0.25),
    "least_request": (0.25, 0.25, 0.25, 0.25),
    "warm": (0.5, 0.5),
    "localities": (0.35, 0.35, 0.1, 0.1, 0.05, 0.05),
    "weights": (0.7, 0.25, 0.05),
}
HEADER = ConsistentHash("header", "x-key")


@asynccontextmanager
async def origins() -> AsyncIterator[int]:
    """Six addresses that answer every request with their number, at one port."""

    async def answer(stream: trio.SocketStream) -> None:
        number = ADDRESSES.index(stream.socket.getsockname()[0])
        reply = f"HTTP/1.1 200 OK\r\nx-at: {number}\r\ncontent-length: 0\r\n\r\n".encode()
        rest = b""
        async for data in stream:
            rest += data
            await stream.send_all(reply * rest.count(b"\r\n\r\n"))
            rest = rest.rpartition(b"\r\n\r\n")[2]

    (listener,) = await trio.open_tcp_listeners(0, host="0.0.0.0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def of(name: str, port: int, *weights: int, localities: Sequence[str] = (), **fields: object) -> Cluster:
    places = localities or [""] * len(weights)
    endpoints = tuple(
        Endpoint(address, port, weight=weight, locality=place)
        for address, weight, place in zip(ADDRESSES, weights, places, strict=False)
    )
    return Cluster(name, ServiceName(name, name, "default"), StaticEndpoints(endpoints), (SOURCE,), **fields)  # type: ignore[arg-type]


def clusters(port: int) -> list[Cluster]:
    """A cluster for every way to choose."""
    spread = LocalityLoad(distribute=DISTRIBUTION)
    return [
        of("round_robin", port, 1, 1, 1, 1, balance="round_robin"),
        of("round_robin_weighted", port, 1, 3, 6, balance="round_robin"),
        of("random", port, 1, 1, 1, 1, balance="random"),
        of("least_request", port, 1, 1, 1, 1),
        of("warm", port, 1, 1, balance="round_robin", warmup=Warmup(1)),
        of("localities", port, 1, 1, 1, 1, 1, 1, localities=LOCALITIES, locality=spread),
        *(msgspec.structs.replace(of(f"only-{number}", port, 1), endpoints=alone(number, port)) for number in range(3)),
    ]


def alone(number: int, port: int) -> StaticEndpoints:
    return StaticEndpoints((Endpoint(ADDRESSES[number], port),))


def sections(made: Sequence[Cluster]) -> list[Section]:
    """A gateway that sends ``/<cluster>/`` to each, and ``/weights/`` to three by weight."""
    split = Forward((Destination("only-0", 70), Destination("only-1", 25), Destination("only-2", 5)))
    routes = [route(PathPrefix(f"/{one.name}/"), one.name) for one in made]
    if any(one.name == "only-0" for one in made):
        routes.append(route(PathPrefix("/weights/"), name="weights", action=split))
    return [gateway_listener(), table(), *host_sections("all", ["*"], routes), *made]


async def hits(proxy: Running, path: str, requests: int) -> Counter[int]:
    """How many requests each origin answered; several connections ask at once."""
    found: Counter[int] = Counter()
    line = f"GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n".encode()

    async def ask(rounds: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(rounds):
                await stream.send_all(line * AT_ONCE)
                found.update(await answers(stream, AT_ONCE))

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(ask, requests // CONNECTIONS // AT_ONCE)
    return found


async def answers(stream: trio.SocketStream, count: int) -> list[int]:
    """Who gave the next answers, in order."""
    received = b""
    with trio.fail_after(30):
        while received.count(b"\r\n\r\n") < count:
            data = await stream.receive_some(65_536)
            assert data, "the proxy closed a connection"
            received += data
    assert received.count(b"HTTP/1.1 200") == count, received[:500]
    return [int(number) for number in re.findall(rb"\r\nx-at: (\d)\r\n", received)]


@pytest.mark.parametrize("name", SHARES)
async def test_each_has_its_share_of_twenty_thousand_requests(name: str) -> None:
    shares = SHARES[name]
    async with origins() as port, proxying(*sections(clusters(port)), locality=OWN) as proxy:
        found = await hits(proxy, f"/{name}/", REQUESTS)
    assert found.total() == REQUESTS
    assert [found[number] / REQUESTS for number in range(len(shares))] == pytest.approx(shares, abs=OFF)


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
async def test_when_an_endpoint_leaves_its_keys_move_and_hardly_another(balance: str) -> None:
    keys = 2_000
    async with origins() as port:
        six = of("a", port, 1, 1, 1, 1, 1, 1, balance=balance, hashing=HEADER)
        async with proxying(*sections([six])) as proxy:
            before = await owners(proxy, keys)
            await proxy.swap(*sections([of("a", port, 1, 1, 1, 1, 1, balance=balance, hashing=HEADER)]))
            after = await owners(proxy, keys)
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert before.count(5) == pytest.approx(keys / 6, rel=0.35)
    assert moved >= before.count(5)
    assert moved / keys <= 1 / 6 + 0.05
    assert set(after) == {0, 1, 2, 3, 4}


async def owners(proxy: Running, keys: int) -> list[int]:
    """The origin of each key."""
    found: list[int] = []
    async with await trio.open_tcp_stream("127.0.0.1", proxy.ports[80]) as stream:
        for begin in range(0, keys, AT_ONCE):
            asked = range(begin, begin + AT_ONCE)
            lines = [f"GET /a/ HTTP/1.1\r\nhost: a.test\r\nx-key: key-{number}\r\n\r\n" for number in asked]
            await stream.send_all("".join(lines).encode())
            found += await answers(stream, AT_ONCE)
    return found
