"""Histograms on the stats page: quantiles inside buckets, intervals between readings, Envoy's forms."""

from __future__ import annotations

import json
import math

import pytest

from runtime.pages.histograms import Histogram, Intervals, as_json, as_text, quantile
from runtime.telemetry.metrics import BUCKETS

BOUNDS = (1.0, 5.0, 10.0)


def of(*counts: int, recent: tuple[int, ...] = ()) -> Histogram:
    return Histogram("h", counts, recent or counts, BOUNDS)


@pytest.mark.parametrize(
    ("counts", "percent", "value"),
    [
        ((4, 0, 0, 0), 50, 0.5),
        ((0, 4, 0, 0), 0, 1.0),
        ((0, 4, 0, 0), 25, 2.0),
        ((0, 4, 0, 0), 100, 5.0),
        ((1, 1, 2, 0), 75, 7.5),
        ((0, 0, 0, 3), 99, 10.0),
    ],
)
def test_a_quantile_lies_inside_its_bucket(counts: tuple[int, ...], percent: float, value: float) -> None:
    assert quantile(counts, BOUNDS, percent) == pytest.approx(value)


def test_of_no_values_there_is_no_quantile() -> None:
    assert math.isnan(quantile((0, 0, 0, 0), BOUNDS, 50))
    assert list(as_text([of(0, 0, 0, 0)], "")) == ["h: No recorded values"]


def test_quantiles_are_told_for_the_interval_and_for_ever() -> None:
    (line,) = as_text([of(4, 0, 0, 0, recent=(0, 0, 0, 0))], "")
    assert line == (
        "h: P0(nan,0) P25(nan,0.25) P50(nan,0.5) P75(nan,0.75) P90(nan,0.9) P95(nan,0.95) P99(nan,0.99) "
        "P99.5(nan,0.995) P99.9(nan,0.999) P100(nan,1)"
    )


def test_buckets_are_told_each_alone_or_running() -> None:
    one = of(1, 2, 0, 0, recent=(0, 1, 0, 0))
    assert list(as_text([one], "disjoint")) == ["h: B1(0,1) B5(1,2) B10(0,0)"]
    assert list(as_text([one], "cumulative")) == ["h: B1(0,1) B5(1,3) B10(1,3)"]
    assert "".join(as_text([one], "detailed")).startswith("h:\n  totals=0,1:1, 1,4:2\n  intervals=1,4:1")


def test_json_has_the_same_and_no_number_that_json_does_not_know() -> None:
    one = of(4, 0, 0, 0, recent=(0, 0, 0, 0))
    quantiles = as_json([one], "")["histograms"]
    assert quantiles["supported_quantiles"] == [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]
    assert quantiles["computed_quantiles"][0]["values"][2] == {"cumulative": 0.5, "interval": None}
    (bucketed,) = as_json([one], "disjoint")["histograms"]
    assert bucketed["buckets"][0] == {"upper_bound": 1.0, "interval": 0, "cumulative": 4}
    (detailed,) = as_json([one], "detailed")["histograms"]["details"]
    assert detailed["totals"] == [{"lower_bound": 0.0, "width": 1.0, "count": 4}]
    json.dumps([quantiles, bucketed, detailed], allow_nan=False)


def test_an_interval_ends_when_the_page_is_read_and_five_seconds_have_passed() -> None:
    intervals = Intervals()

    def read(count: int, now: float) -> int:
        (one,) = intervals.close([Histogram("h", (count, *[0] * len(BUCKETS)))], now)
        return one.recent[0]

    assert read(3, 100.0) == 3, "before the first interval everything is recent"
    assert read(4, 101.0) == 4
    assert read(10, 106.0) == 7, "the interval that began at 100 is over"
    assert read(12, 107.0) == 9
    assert read(12, 111.0) == 2
