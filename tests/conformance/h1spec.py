"""h1spec's cases through a running proxy: the statuses that it expects, and silence where a request has not ended."""

from __future__ import annotations

from typing import Any

import trio

from policies.head import Headers
from tests.conformance.carrying import Arrived, Carried, carry
from tests.conformance.corpus import Tally, read

Case = dict[str, Any]


def run() -> Tally:
    """Every case."""
    tally = Tally()
    cases: list[Case] = read("http1/h1spec_cases.json")
    found = trio.run(carry, {case["description"]: case["request"].encode("latin-1") for case in cases}, echo)
    for case in cases:
        tally.count(case["description"], judge(case, found[case["description"]]))
    return tally


def echo(arrived: Arrived) -> tuple[int, Headers, bytes]:
    """The origin says what it was sent."""
    return 200, [], arrived.body


def judge(case: Case, carried: Carried) -> str | None:
    """None where the first status is in one of the ranges, and a refused or unfinished request has not arrived."""
    said = f"answered {carried.statuses}, arrived {carried.whole}"
    if case.get("expectedTimeout"):
        return said if carried.answer or carried.arrived or carried.closed else None
    if not carried.statuses or not any(low <= carried.statuses[0] <= high for low, high in case["expectedStatus"]):
        return said
    if carried.statuses[0] >= 400:
        return said if carried.whole or not carried.closed else None
    body = case.get("expectedBody")
    return said if body is not None and carried.whole[0].body != body.encode() else None
