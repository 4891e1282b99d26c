"""Outlier detection through a whole data plane: who answers badly is left out, and comes back."""

from __future__ import annotations

import h11
import httpx
import pytest
import trio

from policies.balancing import OutlierDetection
from policies.traffic import Retry
from snapshot.section import Section
from tests.echo import Echo, running
from tests.runtime.proxying import proxying
from tests.slices import cluster, gateway_listener, host_sections, route, table

pytestmark = pytest.mark.integration

OUTLIER = OutlierDetection(consecutive_5xx=3, interval_ms=100, base_ejection_ms=300, max_ejection_percent=100)


def unwell(request: h11.Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    return 503, [], b"unwell"


def sections(*echoes: Echo, retry: Retry | None = None) -> list[Section]:
    to = route(None, "a")
    if retry is not None:
        to = type(to)(to.source, to.match, to.action, retry=retry)
    upstreams = [(echo.address, echo.port) for echo in echoes]
    return [
        gateway_listener(),
        table(),
        *host_sections("all", ["*"], [to]),
        cluster("a", *upstreams, balance="round_robin", outlier=OUTLIER),
    ]


async def test_who_fails_three_times_in_a_row_is_left_out_and_comes_back() -> None:
    async with (
        running(Echo("good"), Echo("bad", reply=unwell)) as (good, bad),
        proxying(*sections(good, bad)) as proxy,
        httpx.AsyncClient() as client,
    ):
        statuses = [(await client.get(proxy.url())).status_code for _ in range(20)]
        assert statuses.count(503) == 3
        assert set(statuses[6:]) == {200}
        bad.reply = None
        with trio.fail_after(5):
            while (await client.get(proxy.url())).json()["service"] != "bad":
                pass


async def test_an_attempt_that_is_tried_again_counts() -> None:
    retry = Retry(attempts=2, base_backoff_ms=1, max_backoff_ms=1)
    async with (
        running(Echo("good"), Echo("bad", reply=unwell)) as (good, bad),
        proxying(*sections(good, bad, retry=retry)) as proxy,
        httpx.AsyncClient() as client,
    ):
        replies = [await client.get(proxy.url()) for _ in range(20)]
        assert {reply.status_code for reply in replies} == {200}
        page = proxy.proxy.metrics()
        enforced = [one.value for one in page.own if one.name.endswith("ejections_enforced_total")]
        assert enforced == [1]
