"""Rate limits through a whole data plane."""

from __future__ import annotations

import msgspec
import pytest
import trio

from policies.limits import LimitKey, RateLimit
from policies.match import Exact, HeaderMatch, PathExact, PathPrefix, RouteMatch
from policies.source import SourceRef
from policies.traffic import DirectResponse, Fault, FaultAbort
from runtime.ipc import Borrow, Lent
from runtime.limits.lender import Lender
from snapshot.section import Route, Section
from tests.echo import Echo, running
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration


def limit(name: str = "l", *, requests: int = 2, **fields: object) -> RateLimit:
    """So slow that no token comes back during a test."""
    return RateLimit(SourceRef("RateLimit", "default", name), requests, 3_600_000, requests, **fields)  # type: ignore[arg-type]


def limited(one: Route, *limits: RateLimit, **fields: object) -> Route:
    return msgspec.structs.replace(one, limits=limits, **fields)


def slice_with(*routes: Route, port: int = 1) -> list[Section]:
    return [
        gateway_listener(80),
        table(),
        *host_sections("a", ["a.test"], list(routes)),
        cluster("a", ("127.0.0.1", port)),
    ]


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def headers(reply: bytes) -> dict[str, str]:
    lines = reply.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


async def test_what_is_over_the_limit_is_answered_429_with_envoys_words_and_headers() -> None:
    async with (
        running(Echo("a")) as (echo,),
        proxying(*slice_with(limited(route(), limit(headers=True)), port=echo.port)) as proxy,
    ):
        first, second, third = [await proxy.get() for _ in range(3)]
    assert [status(one) for one in (first, second, third)] == [200, 200, 429]
    assert (headers(first)["x-ratelimit-limit"], headers(first)["x-ratelimit-remaining"]) == ("2", "1")
    assert headers(second)["x-ratelimit-reset"] == headers(third)["x-ratelimit-reset"] == "1800"
    assert (headers(third)["retry-after"], third.endswith(b"local_rate_limited")) == ("1800", True)
    assert "retry-after" not in headers(first)


async def test_each_client_has_its_own_bucket_and_who_has_no_key_is_not_counted() -> None:
    by_user = limit(requests=1, by=(LimitKey("header", "x-user"),))
    answers = limited(route(action=DirectResponse(204)), by_user)
    async with proxying(*slice_with(answers)) as proxy:

        async def ask(*lines: str) -> int:
            return status(await proxy.get("/", "a.test", *lines))

        found = [await ask(f"x-user: {user}") for user in ("jane", "jane", "joe", "joe")]
        anonymous = [await ask() for _ in range(3)]
    assert (found, anonymous) == ([204, 429, 204, 429], [204, 204, 204])


async def test_only_what_matches_is_counted() -> None:
    match = RouteMatch(path=PathPrefix("/paid"), method=Exact("GET"), headers=(HeaderMatch("x-plan", Exact("free")),))
    answers = limited(route(action=DirectResponse(204)), limit(requests=1, match=match))
    async with proxying(*slice_with(answers)) as proxy:

        async def ask(path: str, *lines: str) -> int:
            return status(await proxy.get(path, "a.test", *lines))

        assert [await ask("/other", "x-plan: free") for _ in range(2)] == [204, 204]
        assert [await ask("/paid") for _ in range(2)] == [204, 204]
        assert [await ask("/paid/x", "x-plan: free") for _ in range(2)] == [204, 429]


async def test_an_injected_fault_takes_no_token() -> None:
    aborting = limited(route(PathExact("/x")), limit(requests=1), fault=Fault(abort=FaultAbort(418)))
    answers = limited(route(action=DirectResponse(204)), limit(requests=1))
    async with proxying(*slice_with(aborting, answers)) as proxy:
        assert [status(await proxy.get("/x")) for _ in range(3)] == [418, 418, 418]
        assert [status(await proxy.get()) for _ in range(2)] == [204, 429]


async def test_a_limit_survives_a_snapshot_that_does_not_change_it() -> None:
    async with proxying(*slice_with(limited(route(action=DirectResponse(204)), limit(requests=1)))) as proxy:
        assert status(await proxy.get()) == 204
        await proxy.swap(*slice_with(limited(route(action=DirectResponse(202)), limit(requests=1))))
        assert status(await proxy.get()) == 429
        await proxy.swap(*slice_with(limited(route(action=DirectResponse(202)), limit(requests=3))))
        assert status(await proxy.get()) == 202


async def test_several_limits_are_asked_slowest_first_and_every_one_must_allow() -> None:
    both = limited(route(action=DirectResponse(204)), limit("wide", requests=5), limit("narrow", requests=1))
    async with proxying(*slice_with(both)) as proxy:
        assert [status(await proxy.get()) for _ in range(3)] == [204, 429, 429]
        counted = {
            (one.labels[0].rpartition("/")[2], one.labels[1]): one.value
            for one in proxy.proxy.metrics().own
            if one.name == "weft_rate_limit_total"
        }
    assert counted == {("narrow", "ok"): 1, ("wide", "ok"): 1, ("narrow", "limited"): 2}


async def test_workers_that_borrow_admit_together_what_one_would() -> None:
    lender = Lender(workers=2)

    async def borrow(asked: Borrow) -> Lent | None:
        await trio.lowlevel.checkpoint()
        return lender.lend(asked, trio.current_time())

    sections = slice_with(limited(route(action=DirectResponse(204)), limit(requests=7, headers=True)))
    async with proxying(*sections) as one, proxying(*sections) as other:
        for proxy in (one, other):
            proxy.proxy.share_limits(borrow, 2)
        found = [status(await proxy.get()) for _ in range(6) for proxy in (one, other)]
    assert (found.count(204), found.count(429)) == (7, 5)


async def test_a_worker_whose_lender_is_silent_admits_its_own_share() -> None:
    async def silent(_asked: Borrow) -> Lent | None:
        return None

    async with proxying(*slice_with(limited(route(action=DirectResponse(204)), limit(requests=4)))) as proxy:
        proxy.proxy.share_limits(silent, 2)
        assert [status(await proxy.get()) for _ in range(3)] == [204, 204, 429]
