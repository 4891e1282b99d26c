"""A worker's pages are made in pieces, one step for each thing that they tell of, so that the lane can serve in between."""

from __future__ import annotations

import msgspec

from runtime.pages import telling
from runtime.pages.telling import Steps
from runtime.telemetry.labels import REQUEST_LABELS
from runtime.telemetry.metrics import MetricsSnapshot, OwnSample, TrafficMetrics


def driven(steps: Steps) -> tuple[int, bytes]:
    """How many steps there were, and what came of them."""
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return taken, done.value
        taken += 1


def test_metrics_are_told_series_by_series_and_are_what_they_would_be_at_once() -> None:
    traffic = TrafficMetrics()
    for number in range(50):
        labels = tuple(f"{name}{number}" for name in REQUEST_LABELS)
        traffic.request(labels, ("http|http", "a")).observe(number, 1, 2)
        traffic.request(labels, ("http|https", "a")).observe(number, 1, 2)
    traffic.tcp(("x",)).opened = 3
    own = OwnSample("weft_connections", ("downstream",), 7)
    taken, body = driven(telling.metrics(traffic, lambda: [own]))
    assert taken == 101
    told = msgspec.msgpack.decode(body, type=MetricsSnapshot)
    whole = traffic.samples()
    assert (told.requests, told.tcp, told.own) == (whole.requests, whole.tcp, [own, *whole.own])


def test_a_series_that_is_new_in_the_middle_is_told_the_next_time() -> None:
    traffic = TrafficMetrics()
    traffic.request(("a",)).observe(1, 1, 1)
    steps = telling.metrics(traffic, list)
    next(steps)
    traffic.request(("b",)).observe(1, 1, 1)
    assert len(msgspec.msgpack.decode(driven(steps)[1], type=MetricsSnapshot).requests) == 1


def test_what_does_not_serve_yet_has_no_clusters() -> None:
    assert driven(telling.clusters(None, None)) == (0, b"[]")  # type: ignore[arg-type]
    assert driven(telling.connections([])) == (0, b'{"total":0,"connections":[]}')
