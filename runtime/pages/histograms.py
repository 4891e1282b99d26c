"""Histograms as Envoy's ``/stats`` shows them: quantiles or buckets, each since the start and since the pages were read before.

Where Envoy keeps values to two digits, weft counts in the 19 buckets of its metrics, so a quantile is interpolated inside its bucket. And where
Envoy closes an interval every five seconds whoever looks, weft closes one when the page is asked and the last is at least as old: nothing is
gathered for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from runtime.telemetry.metrics import BUCKETS

QUANTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0)
FORMS = ("cumulative", "disjoint", "detailed", "summary")
"""What ``histogram_buckets`` may ask for; ``none`` and nothing ask for quantiles, as ``summary`` does."""
INTERVAL_S = 5.0


class Histogram(msgspec.Struct, frozen=True, order=True):
    """Values counted by the buckets that they fell into: one count per bound, and one for what is beyond the last.

    ``recent`` are those of the interval that was closed last.
    """

    name: str
    counts: tuple[int, ...]
    recent: tuple[int, ...] = ()
    bounds: tuple[float, ...] = BUCKETS

    @property
    def used(self) -> bool:
        """Whether anything was ever counted."""
        return any(self.counts)

    def added(self, other: Sequence[int]) -> Histogram:
        """With the counts of another of the same buckets."""
        return msgspec.structs.replace(self, counts=tuple(a + b for a, b in zip(self.counts, other, strict=True)))


class Intervals:
    """What the histograms had counted when the running interval began. ``close`` is asked with each reading of the page."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[int, ...]] = {}
        self._before: dict[str, tuple[int, ...]] = {}
        self._since = -math.inf

    def close(self, found: Sequence[Histogram], now: float) -> list[Histogram]:
        """The histograms with what each counted in the interval; where the running one is long enough, it ends here."""
        if now - self._since >= INTERVAL_S:
            self._before, self._since = self._began, now
            self._began = {one.name: one.counts for one in found}
        return [msgspec.structs.replace(one, recent=_since(one.counts, self._before.get(one.name))) for one in found]


def _since(now: tuple[int, ...], before: tuple[int, ...] | None) -> tuple[int, ...]:
    return now if before is None else tuple(max(a - b, 0) for a, b in zip(now, before, strict=True))


def quantile(counts: Sequence[int], bounds: Sequence[float], percent: float) -> float:
    """The value below which so many percent of the values lie; NaN of none. Beyond the last bound everything counts as that bound."""
    rank = sum(counts) * percent / 100
    seen, lower = 0, 0.0
    for number, count in enumerate(counts):
        upper = bounds[min(number, len(bounds) - 1)]
        if count and seen + count >= rank:
            return lower + (upper - lower) * (rank - seen) / count
        seen += count
        lower = upper
    return math.nan


# --- text --------------------------------------------------------------------------------------------------------------------


def as_text(found: Sequence[Histogram], form: str) -> Iterator[str]:
    """Envoy's lines, ``(interval,cumulative)`` for each quantile or bucket."""
    for one in found:
        if not one.used:
            yield f"{one.name}: No recorded values"
        elif form == "detailed":
            spans = (", ".join(_spans(one, counts)) for counts in (one.counts, one.recent))
            yield "{}:\n  totals={}\n  intervals={}".format(one.name, *spans)
            yield f"  summary={' '.join(_quantiles(one))}"
        else:
            yield f"{one.name}: {' '.join(_told(one, form))}"


def _told(one: Histogram, form: str) -> Iterator[str]:
    match form:
        case "cumulative":
            yield from _buckets(one, _running(one.recent), _running(one.counts))
        case "disjoint":
            yield from _buckets(one, one.recent, one.counts)
        case _:
            yield from _quantiles(one)


def _quantiles(one: Histogram) -> Iterator[str]:
    for percent in QUANTILES:
        recent, ever = (quantile(counts, one.bounds, percent) for counts in (one.recent, one.counts))
        yield f"P{percent:g}({number(recent)},{number(ever)})"


def _buckets(one: Histogram, recent: Sequence[int], ever: Sequence[int]) -> Iterator[str]:
    for bound, a, b in zip(one.bounds, recent, ever, strict=False):
        yield f"B{bound:g}({a},{b})"


def _spans(one: Histogram, counts: Sequence[int]) -> Iterator[str]:
    for lower, width, count in _filled(one, counts):
        yield f"{number(lower)},{number(width)}:{count}"


def _filled(one: Histogram, counts: Sequence[int]) -> Iterator[tuple[float, float, int]]:
    """The buckets that hold anything, by where they begin and how wide they are; what lies beyond the last bound has no width."""
    lower = 0.0
    for upper, count in zip((*one.bounds, one.bounds[-1]), counts, strict=True):
        if count:
            yield lower, upper - lower, count
        lower = upper


def _running(counts: Sequence[int]) -> list[int]:
    total = 0
    return [total := total + count for count in counts]


def number(value: float) -> str:
    """A number as short as it can be told."""
    return format(value, ".15g")


# --- JSON --------------------------------------------------------------------------------------------------------------------


def as_json(found: Sequence[Histogram], form: str) -> dict[str, Any]:
    """Envoy's last element of ``stats``: quantiles of all histograms, or the buckets of each that is used."""
    percents: list[float] = [int(one) if one == int(one) else one for one in QUANTILES]
    if form == "detailed":
        details = [_details(one) for one in found if one.used]
        return {"histograms": {"supported_percentiles": percents, "details": details}}
    if form in ("cumulative", "disjoint"):
        shown = [{"name": one.name, "buckets": _bucket_list(one, form)} for one in found if one.used]
        return {"histograms": shown}
    quantiles = [{"name": one.name, "values": _values(one)} for one in found]
    return {"histograms": {"supported_quantiles": percents, "computed_quantiles": quantiles}}


def _values(one: Histogram) -> list[dict[str, float | None]]:
    return [{"cumulative": _plain(one, one.counts, at), "interval": _plain(one, one.recent, at)} for at in QUANTILES]


def _details(one: Histogram) -> dict[str, Any]:
    totals, intervals = (
        [{"lower_bound": lower, "width": width, "count": count} for lower, width, count in _filled(one, counts)]
        for counts in (one.counts, one.recent)
    )
    return {"name": one.name, "totals": totals, "intervals": intervals, "percentiles": _values(one)}


def _bucket_list(one: Histogram, form: str) -> list[dict[str, float]]:
    recent, ever = one.recent, one.counts
    if form == "cumulative":
        recent, ever = tuple(_running(recent)), tuple(_running(ever))
    return [
        {"upper_bound": bound, "interval": a, "cumulative": b}
        for bound, a, b in zip(one.bounds, recent, ever, strict=False)
    ]


def _plain(one: Histogram, counts: Sequence[int], percent: float) -> float | None:
    value = quantile(counts, one.bounds, percent)
    return None if math.isnan(value) else value
