"""From the numbers of one or several processes to the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from runtime.telemetry.instruments import DECLARED, Declaration
from runtime.telemetry.labels import REQUEST_LABELS, TCP_LABELS, Labels
from runtime.telemetry.metrics import BUCKETS, MetricsSnapshot, OwnSample, RequestSample, TcpSample

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (*(format(bound, "g") if bound < 1_000_000 else str(bound) for bound in BUCKETS), "+Inf")
_REDUCE: dict[str, Callable[[float, float], float]] = {"sum": lambda a, b: a + b, "max": max, "min": min}

REQUEST_METRICS = {
    "istio_requests_total": "Requests, counted by the proxy that reports.",
    "istio_request_duration_milliseconds": "Duration of requests in milliseconds.",
    "istio_request_bytes": "Size of request bodies in bytes.",
    "istio_response_bytes": "Size of response bodies in bytes.",
}
TCP_METRICS = {
    "istio_tcp_sent_bytes_total": "Bytes sent to the client of a TCP connection.",
    "istio_tcp_received_bytes_total": "Bytes received from the client of a TCP connection.",
    "istio_tcp_connections_opened_total": "TCP connections opened.",
    "istio_tcp_connections_closed_total": "TCP connections closed.",
}


def merge(snapshots: Iterable[MetricsSnapshot]) -> MetricsSnapshot:
    """One snapshot of several processes: counters and histograms add up, gauges as their declaration says. Its inputs stay as they are."""
    requests: dict[Labels, RequestSample] = {}
    tcp: dict[Labels, TcpSample] = {}
    own: dict[tuple[str, Labels], float] = {}
    for snapshot in snapshots:
        for request in snapshot.requests:
            held = requests.get(request.labels)
            requests[request.labels] = request if held is None else _add_requests(held, request)
        for connection in snapshot.tcp:
            known = tcp.get(connection.labels)
            tcp[connection.labels] = connection if known is None else _add_tcp(known, connection)
        for sample in snapshot.own:
            key = (sample.name, sample.labels)
            own[key] = _REDUCE[DECLARED[sample.name].merge](own[key], sample.value) if key in own else sample.value
    return MetricsSnapshot(
        requests=list(requests.values()),
        tcp=list(tcp.values()),
        own=[OwnSample(name, labels, value) for (name, labels), value in own.items()],
    )


def _add_requests(one: RequestSample, other: RequestSample) -> RequestSample:
    return RequestSample(
        one.labels,
        _add(one.duration, other.duration),
        one.duration_sum + other.duration_sum,
        _add(one.request_size, other.request_size),
        one.request_sum + other.request_sum,
        _add(one.response_size, other.response_size),
        one.response_sum + other.response_sum,
    )


def _add_tcp(one: TcpSample, other: TcpSample) -> TcpSample:
    return TcpSample(
        one.labels,
        one.opened + other.opened,
        one.closed + other.closed,
        one.sent + other.sent,
        one.received + other.received,
    )


def _add(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def exposition(snapshot: MetricsSnapshot, *, version: str = "") -> bytes:
    """The text of all metrics, families in a fixed order, series sorted by their labels. ``version`` adds istio_build."""
    return "".join(_lines(snapshot, version)).encode()


def _lines(snapshot: MetricsSnapshot, version: str) -> Iterator[str]:
    if version:
        yield "# HELP istio_build The build of this component.\n# TYPE istio_build gauge\n"
        yield f'istio_build{{component="proxy",tag="{escape(version)}"}} 1\n'
    requests = [
        (_pairs(REQUEST_LABELS, one.labels), one) for one in sorted(snapshot.requests, key=lambda one: one.labels)
    ]
    if requests:
        yield _head("istio_requests_total", REQUEST_METRICS["istio_requests_total"], "counter")
        for labels, one in requests:
            yield f"istio_requests_total{{{labels}}} {sum(one.duration)}\n"
        yield from _histograms(
            "istio_request_duration_milliseconds", [(at, one.duration, one.duration_sum) for at, one in requests]
        )
        yield from _histograms("istio_request_bytes", [(at, one.request_size, one.request_sum) for at, one in requests])
        yield from _histograms(
            "istio_response_bytes", [(at, one.response_size, one.response_sum) for at, one in requests]
        )
    yield from _tcp_lines(snapshot.tcp)
    yield from _own_lines(snapshot.own)


def _tcp_lines(samples: list[TcpSample]) -> Iterator[str]:
    ordered = [(_pairs(TCP_LABELS, one.labels), one) for one in sorted(samples, key=lambda one: one.labels)]
    values: tuple[Callable[[TcpSample], int], ...] = (
        lambda one: one.sent,
        lambda one: one.received,
        lambda one: one.opened,
        lambda one: one.closed,
    )
    for (name, text), value in zip(TCP_METRICS.items(), values, strict=True):
        if ordered:
            yield _head(name, text, "counter")
        for labels, one in ordered:
            yield f"{name}{{{labels}}} {value(one)}\n"


def _own_lines(samples: list[OwnSample]) -> Iterator[str]:
    by_name: dict[str, list[OwnSample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    for name, declared in DECLARED.items():
        if name not in by_name:
            continue
        yield _head(name, declared.help, declared.kind)
        if declared.bounds:
            yield from _own_histogram(declared, {sample.labels[0]: sample.value for sample in by_name[name]})
            continue
        for sample in sorted(by_name[name], key=lambda one: one.labels):
            labels = _pairs(declared.labels, sample.labels)
            yield f"{name}{{{labels}}} {_number(sample.value)}\n" if labels else f"{name} {_number(sample.value)}\n"


def _own_histogram(declared: Declaration, values: dict[str, float]) -> Iterator[str]:
    """A histogram without labels: what fell below each bound adds up, ``sum`` is the sum of all values."""
    seen = 0.0
    for bound in (*(format(one, "g") for one in declared.bounds), "+Inf"):
        seen += values.get(bound, 0)
        yield f'{declared.name}_bucket{{le="{bound}"}} {_number(seen)}\n'
    yield f"{declared.name}_sum {_number(values.get('sum', 0))}\n{declared.name}_count {_number(seen)}\n"


def _histograms(name: str, series: Sequence[tuple[str, Sequence[int], float]]) -> Iterator[str]:
    yield _head(name, REQUEST_METRICS[name], "histogram")
    for labels, counts, total in series:
        seen = 0
        for bound, count in zip(_BOUNDS, counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}\n'
        yield f"{name}_sum{{{labels}}} {_number(total)}\n{name}_count{{{labels}}} {seen}\n"


def _head(name: str, text: str, kind: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _pairs(names: Labels, values: Labels) -> str:
    return ",".join([f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True)])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def escape(value: str) -> str:
    """A label's value as the text format wants it: backslash, quote and line feed escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
