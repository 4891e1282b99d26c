"""``/stats``: every number of the proxy under a flat name, as text or JSON, with Envoy's query parameters.

A Prometheus series ``name{a="x"}`` is called ``name.a.x``; the dots inside values stay, as Envoy leaves them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import re2

from runtime.pages.clusters import ClusterStatus
from runtime.telemetry import MetricsSnapshot
from runtime.telemetry.instruments import DECLARED
from runtime.telemetry.labels import REQUEST_LABELS, TCP_LABELS, Labels

MAX_FILTER = 1024
TYPES = {"counters": "counter", "gauges": "gauge"}
"""What ``type`` may ask for (``All`` and none ask for everything), by what a Stat calls it."""


class StatQueryError(Exception):
    """A query parameter that cannot be carried out; the message names it."""


class Stat(msgspec.Struct, frozen=True, order=True):
    """One number. ``kind`` is ``counter`` or ``gauge``."""

    name: str
    value: int
    kind: str


def stats(snapshot: MetricsSnapshot, clusters: Sequence[ClusterStatus], facts: dict[str, int]) -> list[Stat]:
    """All of them, by name."""
    found = [Stat(name, value, "gauge") for name, value in facts.items()]
    found += _own(snapshot)
    found += _traffic(snapshot)
    for status in clusters:
        found.append(Stat(f"cluster.{status.name}.membership_total", len(status.hosts), "gauge"))
        active = sum(host.stats.get("rq_active", 0) for host in status.hosts)
        found.append(Stat(f"cluster.{status.name}.upstream_rq_active", active, "gauge"))
    return sorted(found)


def _own(snapshot: MetricsSnapshot) -> Iterator[Stat]:
    for sample in snapshot.own:
        declared = DECLARED[sample.name]
        yield Stat(_name(sample.name, declared.labels, sample.labels), int(sample.value), declared.kind)


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


def _name(metric: str, names: Labels, values: Labels) -> str:
    return ".".join((metric, *(f"{name}.{value}" for name, value in zip(names, values, strict=True))))


def asked_for(found: Sequence[Stat], query: dict[str, str]) -> list[Stat]:
    """Those that the query wants: ``filter`` (RE2, anywhere in the name), ``usedonly``, ``type``; raises StatQueryError."""
    pattern = query.get("filter", "")
    if len(pattern) > MAX_FILTER:
        raise StatQueryError(f"filter has more than {MAX_FILTER} characters")
    try:
        wanted = re2.compile(pattern)
    except re2.error as error:
        raise StatQueryError(f"filter is no RE2 expression: {error}") from None
    kind = query.get("type", "All").lower()
    if kind not in ("all", *TYPES):
        raise StatQueryError("type is one of All, Counters, Gauges")
    return [
        one
        for one in found
        if wanted.search(one.name)
        and ("usedonly" not in query or one.value)
        and (kind == "all" or one.kind == TYPES[kind])
    ]


def as_text(found: Sequence[Stat]) -> str:
    """Envoy's text: a line per number."""
    return "".join(f"{one.name}: {one.value}\n" for one in found)


def as_json(found: Sequence[Stat]) -> dict[str, Any]:
    """Envoy's JSON."""
    return {"stats": [{"name": one.name, "value": one.value} for one in found]}
