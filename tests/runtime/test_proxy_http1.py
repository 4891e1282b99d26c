"""HTTP/1.1 through a whole data plane, to origins that know nothing of it."""

from __future__ import annotations

import json

import httpx
import pytest
import trio

from policies.match import PathPrefix
from snapshot.section import Section
from tests.echo import Echo, running
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


def to(*origins: Echo, name: str = "a") -> list[Section]:
    """A gateway that sends everything to these origins."""
    return [
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [route(None, name)]),
        cluster(name, *((origin.address, origin.port) for origin in origins)),
    ]


async def test_a_request_and_its_reply_pass_with_their_bodies() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy, httpx.AsyncClient() as client:
        reply = await client.post(f"{proxy.url()}/x/../y?q=1", content=b"hello", headers={"x-mine": "1"})
        seen = reply.json()
        assert (reply.status_code, seen["method"], seen["path"], seen["body"]) == (200, "POST", "/y?q=1", "hello")
        assert seen["headers"]["x-mine"] == ["1"]
        assert reply.headers["server"] == "weft"
        assert int(reply.headers["x-envoy-upstream-service-time"]) >= 0
        assert len(seen["headers"]["x-request-id"][0]) == 36


async def test_many_requests_share_few_connections() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy, httpx.AsyncClient() as client:
        for _ in range(20):
            assert (await client.get(proxy.url())).status_code == 200
        assert proxy.proxy.plane.pools.connections == 1


async def test_a_chunked_request_body_passes() -> None:
    async def parts() -> object:
        for part in (b"one", b"two" * 50_000, b"three"):
            yield part  # type: ignore[misc]

    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy, httpx.AsyncClient() as client:
        reply = await client.post(proxy.url(), content=parts())  # type: ignore[arg-type]
        assert len(reply.json()["body"]) == 3 + 150_000 + 5


async def test_a_large_reply_passes_whole() -> None:
    body = bytes(range(256)) * 20_000
    origin = Echo("a", reply=lambda request, _: (200, [], body))
    async with running(origin), proxying(*to(origin)) as proxy, httpx.AsyncClient() as client:
        assert (await client.get(proxy.url())).content == body
        assert (await client.head(proxy.url())).content == b""


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy:
        data = b"".join(b"GET /%d HTTP/1.1\r\nhost: a.test\r\n\r\n" % number for number in range(20))
        replies = await proxy.exchange(data + b"GET /last HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        paths = [
            json.loads(part.split(b"\r\n\r\n")[1].split(b"HTTP/1.1")[0])["path"]
            for part in replies.split(b"HTTP/1.1 200")[1:]
        ]
        assert paths == [f"/{number}" for number in range(20)] + ["/last"]


async def test_a_protocol_error_is_answered_and_ends_the_connection() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy:
        reply = await proxy.exchange(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert origin.seen == []


async def test_no_route_and_no_upstream_have_envoys_replies() -> None:
    sections = [
        gateway_listener(),
        table(),
        *host_sections("a", ["a.test"], [route(PathPrefix("/a"), "none")]),
        cluster("none"),
    ]
    async with proxying(*sections) as proxy:
        assert (await proxy.get("/", "b.test")).startswith(b"HTTP/1.1 404 ")
        reply = await proxy.get("/a")
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert reply.endswith(b"no healthy upstream")


async def test_a_refused_connection_is_503_with_envoys_text() -> None:
    free = Echo("gone")
    async with running(free):
        pass
    async with proxying(*to(free)) as proxy:
        reply = await proxy.get()
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert (
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
            in reply
        )


async def test_a_swap_takes_effect_for_the_next_request_of_an_open_connection() -> None:
    async with (
        running(Echo("one"), Echo("two")) as (one, two),
        proxying(*to(one)) as proxy,
        httpx.AsyncClient() as client,
    ):
        assert (await client.get(proxy.url())).json()["service"] == "one"
        await proxy.swap(*to(two))
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.get(proxy.url())).json()["service"] == "two"


async def test_a_listener_that_is_gone_accepts_no_more() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin)) as proxy:
        assert (await proxy.get()).startswith(b"HTTP/1.1 200")
        await proxy.swap(table())
        with pytest.raises(OSError, match="all attempts to connect"):
            await proxy.get()


async def test_replies_are_stamped_with_the_one_snapshot_that_served_them() -> None:
    async with running(Echo("a")) as (origin,), proxying(*to(origin), stamp=True) as proxy:
        digest = proxy.proxy.plane.generation.prepared.snapshot[:12]
        assert b"x-weft-snapshot: tester=" + digest.encode() in await proxy.get()
