"""Happy eyeballs: which address is tried when, on real sockets of a machine where some answer and some do not."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from runtime.http.racing import interleaved
from snapshot.section import Cluster, Endpoint, Section, ServiceName, StaticEndpoints
from tests.echo import Echo, running
from tests.runtime.proxying import Running, proxying
from tests.slices import SOURCE, gateway_listener, host_sections, route, table

REFUSING = "127.0.99.1"


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        (("10.0.0.1",), ("10.0.0.1",)),
        (("::1", "::2", "10.0.0.1", "10.0.0.2"), ("::1", "10.0.0.1", "::2", "10.0.0.2")),
        (("10.0.0.1", "10.0.0.2", "::1"), ("10.0.0.1", "::1", "10.0.0.2")),
    ],
)
def test_families_take_turns_beginning_with_the_first(addresses: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert interleaved(addresses) == order


@asynccontextmanager
async def before(address: str, *others: str, port: int) -> AsyncIterator[Running]:
    endpoint = Endpoint(address, port, others=others)
    cluster = Cluster("a", ServiceName("a", "a", "default"), StaticEndpoints((endpoint,)), (SOURCE,))
    sections: list[Section] = [gateway_listener(), table(), *host_sections("all", ["*"], [route(None, "a")]), cluster]
    async with proxying(*sections) as proxy:
        yield proxy


@pytest.mark.integration
async def test_an_address_that_refuses_is_followed_by_the_next_at_once() -> None:
    async with running(Echo("a")) as (echo,), before(REFUSING, echo.address, port=echo.port) as proxy:
        with trio.fail_after(0.2):
            assert (await proxy.get()).startswith(b"HTTP/1.1 200")


@pytest.mark.integration
async def test_an_address_that_says_nothing_is_overtaken_after_a_quarter_of_a_second() -> None:
    silent = socket.create_server((REFUSING, 0), backlog=0)
    port = silent.getsockname()[1]
    fillers = [await filled(port) for _ in range(3)]
    async with (
        running(Echo("a", address="127.0.0.1", port=port)) as (_,),
        before(REFUSING, "127.0.0.1", port=port) as proxy,
    ):
        started = trio.current_time()
        with trio.fail_after(3):
            assert (await proxy.get()).startswith(b"HTTP/1.1 200")
        assert trio.current_time() - started > 0.2
        pools = proxy.proxy.plane.pools
        assert pools.connections == 1, "the slow attempt was given up"
    for sock in (silent, *fillers):
        sock.close()


async def filled(port: int) -> socket.socket:
    """Takes a place in a queue that nobody serves; a full one lets further connections hang."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((REFUSING, port))
    await trio.sleep(0.01)
    return sock


@pytest.mark.integration
async def test_where_no_address_answers_the_request_hears_of_it_once() -> None:
    async with before(REFUSING, "127.0.99.2", port=1) as proxy:
        with trio.fail_after(2):
            reply = await proxy.get()
        assert reply.startswith(b"HTTP/1.1 503")
        assert proxy.proxy.plane.pools.connections == 0
