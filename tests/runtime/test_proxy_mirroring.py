"""Mirrored requests through a whole data plane: what the mirror sees, and that nothing waits for it."""

from __future__ import annotations

import httpx
import pytest
import trio

from policies.traffic import Destination, Forward, HeaderEdits, Mirror, Rewrite
from runtime.http.shadow import shadow_authority
from snapshot.section import Section
from tests.echo import Echo, running
from tests.runtime.proxying import Running, proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


def mirroring(real: Echo, mirror: tuple[str, int], *mirrors: Mirror, rewrite: Rewrite | None = None) -> list[Section]:
    edited = Destination("a", request_headers=HeaderEdits(set=(("x-edited", "1"),)))
    action = Forward((edited,), rewrite, mirrors or (Mirror("m"),))
    return [
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [route(None, action=action)]),
        cluster("a", (real.address, real.port)),
        cluster("m", mirror),
    ]


async def until_idle(proxy: Running) -> None:
    """Waits until no stream of the proxy is in use."""
    with trio.fail_after(5):
        while proxy.proxy.plane.pools.active:
            await trio.lowlevel.checkpoint()


async def test_a_mirror_sees_the_request_as_it_was_forwarded_under_another_host() -> None:
    async with (
        running(Echo("a"), Echo("m")) as (real, mirror),
        proxying(*mirroring(real, (mirror.address, mirror.port), rewrite=Rewrite(path="/new"))) as proxy,
        httpx.AsyncClient() as client,
    ):
        reply = await client.post(f"{proxy.url()}/old?q=1", content=b"hello", headers={"host": "shop.test:80"})
        await until_idle(proxy)
        assert (reply.json()["service"], reply.json()["host"]) == ("a", "shop.test:80")
        (seen,) = mirror.seen
        assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/new?q=1", "hello")
        assert seen["host"] == "shop.test-shadow:80"
        assert isinstance(seen["headers"], dict)
        assert seen["headers"]["x-edited"] == ["1"]


async def test_a_streamed_body_is_copied_whole() -> None:
    async def parts() -> object:
        for _ in range(40):
            yield b"x" * 1000  # type: ignore[misc]

    async with (
        running(Echo("a"), Echo("m")) as (real, mirror),
        proxying(*mirroring(real, (mirror.address, mirror.port))) as proxy,
        httpx.AsyncClient() as client,
    ):
        assert len((await client.post(proxy.url(), content=parts())).json()["body"]) == 40_000  # type: ignore[arg-type]
        await until_idle(proxy)
        assert [len(str(seen["body"])) for seen in mirror.seen] == [40_000]


async def test_a_mirror_that_is_not_there_costs_the_request_nothing() -> None:
    gone = Echo("gone")
    async with running(gone):
        pass
    async with (
        running(Echo("a")) as (real,),
        proxying(*mirroring(real, (gone.address, gone.port))) as proxy,
        httpx.AsyncClient() as client,
    ):
        for _ in range(3):
            assert (await client.post(proxy.url(), content=b"x")).status_code == 200
        await until_idle(proxy)


async def test_a_mirror_that_takes_nothing_does_not_slow_a_large_body() -> None:
    async with trio.open_nursery() as nursery:
        (deaf,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with (
            running(Echo("a")) as (real,),
            proxying(*mirroring(real, deaf.socket.getsockname())) as proxy,
            httpx.AsyncClient() as client,
        ):
            with trio.fail_after(10):
                reply = await client.post(proxy.url(), content=b"x" * 20_000_000)
            assert len(reply.json()["body"]) == 20_000_000
            await until_idle(proxy)
        await deaf.aclose()
        nursery.cancel_scope.cancel()


async def test_a_share_of_requests_is_mirrored_and_each_mirror_draws_for_itself() -> None:
    async with running(Echo("a"), Echo("m")) as (real, mirror), httpx.AsyncClient() as client:
        mirrors = (Mirror("m", 250_000), Mirror("m", 0))
        async with proxying(*mirroring(real, (mirror.address, mirror.port), *mirrors)) as proxy:
            for _ in range(200):
                await client.get(proxy.url())
            await until_idle(proxy)
            assert 20 <= len(mirror.seen) <= 80


@pytest.mark.parametrize(
    ("authority", "shadow"),
    [("a.test", "a.test-shadow"), ("a.test:81", "a.test-shadow:81"), ("[::1]:80", "[::1]-shadow:80")],
)
def test_a_shadows_authority_keeps_the_port(authority: str, shadow: str) -> None:
    assert shadow_authority(authority) == shadow
