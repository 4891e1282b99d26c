"""Consistent hashing through a whole data plane: a client stays with its endpoint, and clients are shared out."""

from __future__ import annotations

import httpx
import pytest

from snapshot.section import ConsistentHash, Section
from tests.echo import Echo, running
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table


def hashing(on: ConsistentHash, *echoes: Echo) -> list[Section]:
    upstreams = [(echo.address, echo.port) for echo in echoes]
    return [
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [route(None, "a")]),
        cluster("a", *upstreams, balance="ring_hash", hashing=on),
    ]


@pytest.mark.integration
async def test_requests_of_one_header_value_stay_together_and_values_are_shared_out() -> None:
    async with (
        running(Echo("a"), Echo("b")) as echoes,
        proxying(*hashing(ConsistentHash("header", "x-user"), *echoes)) as proxy,
        httpx.AsyncClient() as client,
    ):
        served: dict[int, set[str]] = {}
        for number in range(60):
            user = number % 20
            reply = await client.get(proxy.url(), headers={"x-user": f"user-{user}"})
            assert "set-cookie" not in reply.headers
            served.setdefault(user, set()).add(reply.json()["service"])
        assert {len(services) for services in served.values()} == {1}
        assert set().union(*served.values()) == {"a", "b"}


@pytest.mark.integration
async def test_a_client_without_the_cookie_gets_one_that_brings_it_back_over_another_connection() -> None:
    on = ConsistentHash("cookie", "seat", "/", 60_000)
    async with (
        running(Echo("a"), Echo("b")) as echoes,
        proxying(*hashing(on, *echoes)) as proxy,
    ):
        for _ in range(6):
            async with httpx.AsyncClient() as client:
                first = await client.get(proxy.url())
            assert first.headers["set-cookie"].startswith('seat="')
            pair = first.headers["set-cookie"].partition(";")[0]
            async with httpx.AsyncClient() as client:
                second = await client.get(proxy.url(), headers={"cookie": pair})
            assert second.json()["service"] == first.json()["service"]
            assert "set-cookie" not in second.headers
