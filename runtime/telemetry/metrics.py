"""Istio's traffic metrics on the request path: a caller finds its series once and keeps it; observing is a few integer additions.

The number of series is bounded: past ``max_series`` a new combination of labels is counted as dropped and observed into nothing,
so that a client that invents paths, codes or hosts cannot fill the memory of a proxy or of the system that scrapes it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from runtime.telemetry.labels import Labels

BUCKETS = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
)
"""Envoy's default histogram bounds (each inclusive), for milliseconds and for bytes alike; beyond the last is +Inf."""

MAX_SERIES = 10_000


Place = tuple[str, str]
"""Where requests were observed: the filter chain's name with its listener's before it (``listener|chain``), and the cluster's, "" for none."""


class RequestSeries:
    """One combination of labels of istio_requests_total and its three histograms, by where it was observed: filter chain and cluster.

    Owned by TrafficMetrics, kept by whoever observes."""

    __slots__ = (
        "duration",
        "duration_sum",
        "labels",
        "place",
        "request_size",
        "request_sum",
        "response_size",
        "response_sum",
    )

    def __init__(self, labels: Labels, place: Place = ("", "")) -> None:
        self.labels = labels
        self.place = place
        self.duration = [0] * (len(BUCKETS) + 1)
        self.duration_sum = 0.0
        self.request_size = [0] * (len(BUCKETS) + 1)
        self.request_sum = 0
        self.response_size = [0] * (len(BUCKETS) + 1)
        self.response_sum = 0

    def observe(self, duration_ms: float, request_bytes: int, response_bytes: int) -> None:
        """Counts one exchange: its duration in milliseconds and its sizes in bytes."""
        self.duration[bisect_left(BUCKETS, duration_ms)] += 1
        self.duration_sum += duration_ms
        self.request_size[bisect_left(BUCKETS, request_bytes)] += 1
        self.request_sum += request_bytes
        self.response_size[bisect_left(BUCKETS, response_bytes)] += 1
        self.response_sum += response_bytes


class TcpSeries:
    """One combination of labels of the istio_tcp_* counters. ``sent`` goes downstream to the client, ``received`` comes from it, in bytes."""

    __slots__ = ("closed", "labels", "opened", "received", "sent")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.opened = 0
        self.closed = 0
        self.sent = 0
        self.received = 0


class RequestSample(msgspec.Struct, array_like=True):
    """A RequestSeries at one moment, as it travels. The request count is the sum of ``duration``. ``place`` says nothing once several
    series of the same labels are one."""

    labels: Labels
    duration: list[int]
    duration_sum: float
    request_size: list[int]
    request_sum: int
    response_size: list[int]
    response_sum: int
    place: Place = ("", "")


class TcpSample(msgspec.Struct, array_like=True):
    """A TcpSeries at one moment, as it travels."""

    labels: Labels
    opened: int
    closed: int
    sent: int
    received: int


class OwnSample(msgspec.Struct, array_like=True):
    """One ``weft_*`` value at one moment."""

    name: str
    labels: Labels
    value: float


class MetricsSnapshot(msgspec.Struct):
    """Everything that one process counted; encodes to MessagePack or JSON as it stands."""

    requests: list[RequestSample] = []
    tcp: list[TcpSample] = []
    own: list[OwnSample] = []


class TrafficMetrics:
    """All traffic series of one worker. ``dropped`` counts the refused series."""

    __slots__ = ("_max_series", "_nowhere", "_nowhere_tcp", "_requests", "_tcp", "dropped")

    def __init__(self, *, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._requests: dict[Labels, dict[Place, RequestSeries]] = {}
        self._tcp: dict[Labels, TcpSeries] = {}
        self._nowhere = RequestSeries(())
        self._nowhere_tcp = TcpSeries(())
        self.dropped = 0

    def request(self, labels: Labels, place: Place = ("", "")) -> RequestSeries:
        """The series of these labels (REQUEST_LABELS' order) at a place. Keep it: the look-up hashes 25 strings."""
        places = self._requests.get(labels)
        if places is None:
            if self._full():
                return self._nowhere
            places = self._requests[labels] = {}
        series = places.get(place)
        if series is None:
            # Not bounded: places are what the configuration has.
            series = places[place] = RequestSeries(labels, place)
        return series

    def tcp(self, labels: Labels) -> TcpSeries:
        """The series of these labels (TCP_LABELS' order)."""
        series = self._tcp.get(labels)
        if series is None:
            if self._full():
                return self._nowhere_tcp
            series = self._tcp[labels] = TcpSeries(labels)
        return series

    def samples(self) -> MetricsSnapshot:
        """A copy of all values, with the dropped series as weft's own metric. Copies lists: call it per scrape, not per request."""
        return MetricsSnapshot(list(self.request_samples()), list(self.tcp_samples()), [self.dropped_sample()])

    def request_samples(self) -> Iterator[RequestSample]:
        """The series that there are now, one after the other, each as it is when its turn comes."""
        for series in [one for places in self._requests.values() for one in places.values()]:
            yield RequestSample(
                series.labels,
                list(series.duration),
                series.duration_sum,
                list(series.request_size),
                series.request_sum,
                list(series.response_size),
                series.response_sum,
                series.place,
            )

    def tcp_samples(self) -> Iterator[TcpSample]:
        """The same of TCP."""
        for one in list(self._tcp.values()):
            yield TcpSample(one.labels, one.opened, one.closed, one.sent, one.received)

    def dropped_sample(self) -> OwnSample:
        """How many series were refused."""
        return OwnSample("weft_series_dropped_total", (), self.dropped)

    def _full(self) -> bool:
        if len(self._requests) + len(self._tcp) < self._max_series:
            return False
        self.dropped += 1
        return True
