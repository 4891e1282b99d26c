"""What a worker tells of itself for the pages, put together in small steps: the lane serves in between, however much there is to tell.

Each generator yields between two steps and returns the page's bytes. What changes meanwhile is told as it was found: an endpoint more or less,
never half a one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from runtime.pages.clusters import of_clusters
from runtime.pages.connections import MOST, of_connections
from runtime.telemetry.metrics import OwnSample, TrafficMetrics

if TYPE_CHECKING:
    from runtime.generation import Generation
    from runtime.http.pool import Pools
    from runtime.plane import Rebindable

Steps = Generator[None, None, bytes]


def clusters(generation: Generation | None, pools: Pools) -> Steps:
    """A list of ClusterStatus, as JSON."""
    statuses = of_clusters(generation, pools) if generation is not None else iter(())
    told = yield from _encoded(statuses, msgspec.json.Encoder().encode)
    return msgspec.json.encode(told)


def connections(open_now: Iterable[Rebindable]) -> Steps:
    """A Connections, as JSON; those beyond the most that are listed are counted."""
    every = list(open_now)
    told = yield from _encoded(of_connections(every[:MOST]), msgspec.json.Encoder().encode)
    return msgspec.json.encode({"total": len(every), "connections": told})


def metrics(traffic: TrafficMetrics, own: Callable[[], Sequence[OwnSample]]) -> Steps:
    """A MetricsSnapshot, as MessagePack; ``own`` is asked last."""
    encode = msgspec.msgpack.Encoder().encode
    requests = yield from _encoded(traffic.request_samples(), encode)
    connected = yield from _encoded(traffic.tcp_samples(), encode)
    return encode({"requests": requests, "tcp": connected, "own": [*own(), traffic.dropped_sample()]})


def _encoded(values: Iterable[object], encode: Callable[[object], bytes]) -> Generator[None, None, list[msgspec.Raw]]:
    found = []
    for value in values:
        found.append(msgspec.Raw(encode(value)))
        yield
    return found
