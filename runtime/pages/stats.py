"""``/stats``: every number of the proxy under a flat name, as text or JSON, with Envoy's query parameters.

What Envoy counts too has Envoy's name (``cluster.NAME.upstream_rq_total``, ``http.LISTENER|CHAIN.downstream_rq_2xx``,
``listener.ADDRESS_PORT.downstream_cx_total``). Any other Prometheus series ``name{a="x"}`` is called ``name.a.x``; the dots inside values
stay, as Envoy leaves them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from runtime.pages import histograms
from runtime.pages.clusters import ClusterStatus
from runtime.pages.filters import expression
from runtime.pages.histograms import FORMS, Histogram
from runtime.telemetry import MetricsSnapshot
from runtime.telemetry.instruments import DECLARED, Declaration
from runtime.telemetry.labels import REQUEST_LABELS, TCP_LABELS, Labels
from runtime.telemetry.metrics import OwnSample, RequestSample

TYPES = {"counters": "counter", "gauges": "gauge", "histograms": "histogram", "textreadouts": "text"}
"""What ``type`` may ask for (``All`` and none ask for everything), by what a Stat calls it. Text readouts are none."""

_GAUGES = ("_active", "_open")
_CODE = REQUEST_LABELS.index("response_code")
_LISTENERS = {
    "weft_listener_connections": "downstream_cx_active",
    "weft_listener_connections_total": "downstream_cx_total",
}


class StatQueryError(Exception):
    """A query parameter that cannot be carried out; the message names it."""


class Stat(msgspec.Struct, frozen=True, order=True):
    """One number. ``kind`` is ``counter`` or ``gauge``."""

    name: str
    value: int
    kind: str


class Stats(msgspec.Struct, frozen=True):
    """All of them, each list by name."""

    numbers: list[Stat]
    histograms: list[Histogram]


def stats(
    snapshots: Sequence[MetricsSnapshot],
    merged: MetricsSnapshot,
    clusters: Sequence[ClusterStatus],
    facts: Mapping[str, int],
    addresses: Mapping[str, str],
) -> Stats:
    """All numbers. ``snapshots`` are the workers', ``merged`` is one of them and of the supervisor; ``addresses`` are those of listeners."""
    numbers = [Stat(name, value, "gauge") for name, value in facts.items()]
    numbers += _own(merged.own, addresses)
    numbers += _traffic(merged)
    numbers += _cluster_numbers(clusters)
    found = list(_traffic_histograms(merged))
    found += _own_histograms(merged.own)
    placed = [one for snapshot in snapshots for one in snapshot.requests]
    for form, at in (("http.{}.downstream_rq", 0), ("cluster.{}.upstream_rq", 1)):
        numbers += _replies(placed, form, at)
        found += _durations(placed, f"{form}_time", at)
    return Stats(sorted(numbers), sorted(found))


def _own(samples: Iterable[OwnSample], addresses: Mapping[str, str]) -> Iterator[Stat]:
    for sample in samples:
        declared = DECLARED[sample.name]
        if not declared.bounds:
            yield Stat(_own_name(sample, declared, addresses), int(sample.value), declared.kind)


def _own_name(sample: OwnSample, declared: Declaration, addresses: Mapping[str, str]) -> str:
    """Envoy's name where the number is one of Envoy's."""
    name, labels = sample.name, sample.labels
    if name in _LISTENERS:
        return f"listener.{addresses.get(labels[0], labels[0]).replace(':', '_')}.{_LISTENERS[name]}"
    if name.startswith("envoy_cluster_") and declared.labels == ("cluster_name",):
        rest = name.removeprefix("envoy_cluster_").replace("outlier_detection_", "outlier_detection.")
        return f"cluster.{labels[0]}.{rest}"
    return _name(name, declared.labels, labels)


def _own_histograms(samples: Iterable[OwnSample]) -> Iterator[Histogram]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for sample in samples:
        if DECLARED[sample.name].bounds and sample.labels != ("sum",):
            counts[sample.name][sample.labels[0]] = int(sample.value)
    for name, by_bound in counts.items():
        bounds = DECLARED[name].bounds
        named = (*(format(one, "g") for one in bounds), "+Inf")
        yield Histogram(name, tuple(by_bound.get(bound, 0) for bound in named), bounds=bounds)


def _traffic(snapshot: MetricsSnapshot) -> Iterator[Stat]:
    for one in snapshot.requests:
        yield Stat(_name("istio_requests_total", REQUEST_LABELS, one.labels), sum(one.duration), "counter")
    for connection in snapshot.tcp:
        for name in ("opened", "closed", "sent", "received"):
            metric = (
                f"istio_tcp_{name}_bytes_total"
                if name in ("sent", "received")
                else f"istio_tcp_connections_{name}_total"
            )
            yield Stat(_name(metric, TCP_LABELS, connection.labels), getattr(connection, name), "counter")


def _traffic_histograms(snapshot: MetricsSnapshot) -> Iterator[Histogram]:
    for one in snapshot.requests:
        for metric, counts in (
            ("istio_request_duration_milliseconds", one.duration),
            ("istio_request_bytes", one.request_size),
            ("istio_response_bytes", one.response_size),
        ):
            yield Histogram(_name(metric, REQUEST_LABELS, one.labels), tuple(counts))


def _cluster_numbers(clusters: Sequence[ClusterStatus]) -> Iterator[Stat]:
    for status in clusters:
        name = f"cluster.{status.name}"
        yield Stat(f"{name}.membership_total", len(status.hosts), "gauge")
        yield Stat(f"{name}.membership_healthy", sum(not host.flags for host in status.hosts), "gauge")
        for stat, value in status.stats.items():
            yield Stat(f"{name}.{stat}", value, "gauge" if stat.endswith(_GAUGES) else "counter")


def _replies(samples: Iterable[RequestSample], form: str, at: int) -> Iterator[Stat]:
    """How many replies each place gave, by status, by class of status and in all."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for one in samples:
        place, code = one.place[at], one.labels[_CODE]
        if not place:
            continue
        count = sum(one.duration)
        if not at:
            counts[place, "total"] += count
        if code != "0":
            for what in ("completed", f"{code[0]}xx", *([code] if at else [])):
                counts[place, what] += count
    for (place, what), count in counts.items():
        yield Stat(f"{form.format(place)}_{what}", count, "counter")


def _durations(samples: Iterable[RequestSample], form: str, at: int) -> Iterator[Histogram]:
    found: dict[str, Histogram] = {}
    for one in samples:
        place = one.place[at]
        if place:
            known = found.get(place)
            counts = tuple(one.duration)
            found[place] = Histogram(form.format(place), counts) if known is None else known.added(counts)
    yield from found.values()


def _name(metric: str, names: Labels, values: Labels) -> str:
    return ".".join((metric, *(f"{name}.{value}" for name, value in zip(names, values, strict=True))))


def asked_for(found: Stats, query: Mapping[str, str]) -> Stats:
    """Those that the query wants: ``filter`` (RE2, anywhere in the name), ``usedonly``, ``type``; raises StatQueryError, FilterError."""
    wanted = expression(query.get("filter", ""))
    kind = query.get("type", "All").lower()
    if kind not in ("all", *TYPES):
        raise StatQueryError("invalid &type= param")
    if query.get("histogram_buckets", "none") not in ("none", *FORMS):
        raise StatQueryError(f"usage: /stats?histogram_buckets=({'|'.join(FORMS)})")
    used = "usedonly" in query
    return Stats(
        [
            one
            for one in found.numbers
            if wanted.search(one.name) and (one.value or not used) and (kind == "all" or one.kind == TYPES[kind])
        ],
        [
            one
            for one in found.histograms
            if wanted.search(one.name) and (one.used or not used) and kind in ("all", "histograms")
        ],
    )


def families_asked_for(text: bytes, query: Mapping[str, str]) -> bytes:
    """Of a page in the Prometheus text format the metrics whose names the query's ``filter`` finds, and with ``usedonly`` those alone of
    which any value is not 0; raises FilterError."""
    if "filter" not in query and "usedonly" not in query:
        return text
    wanted, used = expression(query.get("filter", "")), "usedonly" in query
    return b"".join(
        b"".join(lines)
        for name, lines in _families(text)
        if wanted.search(name) and (not used or any(_is_used(line) for line in lines))
    )


def _families(text: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The metrics of a page, each with its lines: what is said about it, then its series."""
    name, lines = "", list[bytes]()
    for line in text.splitlines(keepends=True):
        about = line.split(b" ", 3)[2].strip().decode() if line.startswith((b"# HELP ", b"# TYPE ")) else name
        if about != name:
            if lines:
                yield name, lines
            name, lines = about, []
        lines.append(line)
    if lines:
        yield name, lines


def _is_used(line: bytes) -> bool:
    return not line.startswith(b"#") and line.rpartition(b" ")[2].strip() not in (b"", b"0")


def as_text(found: Stats, form: str = "") -> str:
    """Envoy's text: a line per number, then one per histogram."""
    numbers = (f"{one.name}: {one.value}\n" for one in found.numbers)
    return "".join((*numbers, *(f"{line}\n" for line in histograms.as_text(found.histograms, form))))


def as_json(found: Stats, form: str = "") -> dict[str, Any]:
    """Envoy's JSON."""
    shown: list[dict[str, Any]] = [{"name": one.name, "value": one.value} for one in found.numbers]
    if found.histograms:
        shown.append(histograms.as_json(found.histograms, form))
    return {"stats": shown}
