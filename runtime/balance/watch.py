"""What a worker remembers of a cluster's endpoints from one generation to the next: who failed, who is new, and how busy each said it is.

A cluster whose outlier detection, warm-up and balance by utilization did not change has the same Watch in every generation, so a swap forgives
nobody. It has none where it uses none of them: such a cluster costs its requests nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet, WeakValueDictionary

import msgspec

from policies.balancing import OutlierDetection, Utilization, Warmup
from runtime.balance.load_report import BINARY, TEXT, read_report
from runtime.balance.outlier import Address, Outliers
from runtime.balance.utilization import Utilizations
from runtime.lane.loop import Lane
from runtime.lane.wheel import NEVER, Timer
from runtime.telemetry import Failure
from runtime.telemetry.instruments import Instruments
from snapshot.ring import Table, Weighted
from snapshot.section import Cluster, ConsistentHash, Endpoint

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange
    from runtime.http.rules import Fields

WARM_STEPS = 50
"""How often the weights of a warm-up are set anew."""
SHORTEST_STEP_S = 0.1

_LOCAL = frozenset({Failure.CONNECT_FAILED, Failure.CONNECT_TIMEOUT, Failure.UPSTREAM_TLS, Failure.UPSTREAM_IDENTITY})
_RESET = frozenset(
    {Failure.UPSTREAM_CLOSED, Failure.UPSTREAM_RESET, Failure.UPSTREAM_REFUSED, Failure.UPSTREAM_PROTOCOL}
)
_TIMED_OUT = frozenset({Failure.UPSTREAM_TIMEOUT, Failure.PER_TRY_TIMEOUT})
_HTTP_OF_GRPC = {
    "0": 200,
    "1": 499,
    "3": 400,
    "4": 504,
    "5": 404,
    "6": 409,
    "7": 403,
    "8": 429,
    "9": 400,
    "10": 409,
    "11": 400,
    "12": 501,
    "14": 503,
    "16": 401,
}
"""What a gRPC status counts as (Envoy); 500 for the others."""


def http_of_grpc(status: str) -> int:
    """The HTTP status that a gRPC status counts as."""
    return _HTTP_OF_GRPC.get(status, 500)


class Watched(Protocol):
    """A generation's cluster, which is told when an endpoint goes or comes back, or weighs more than before."""

    known: tuple[Endpoint, ...]

    def reselect(self) -> None:
        """Choose anew what is used."""


class Watch:
    """One cluster's memory. Owns its outliers, when each endpoint was first seen, and the timers of both."""

    __slots__ = (
        "__weakref__",
        "_instruments",
        "_lane",
        "_name",
        "_seen",
        "_sweep",
        "_sweep_s",
        "_update",
        "_update_s",
        "_utilizations",
        "_warm",
        "_warmup",
        "_watched",
        "outliers",
    )

    def __init__(self, cluster: Cluster, lane: Lane, instruments: Instruments) -> None:
        settings = cluster.outlier
        self.outliers = Outliers(settings) if settings is not None else None
        self._name = cluster.name
        self._warmup = cluster.warmup
        self._lane = lane
        self._instruments = instruments
        self._seen: dict[Address, float] = {}
        self._watched: WeakSet[Watched] = WeakSet()
        self._sweep_s = settings.interval_ms / 1000 if settings is not None else 0.0
        self._sweep = Timer(self._interval)
        self._warm = Timer(self._warmer)
        reported = cluster.utilization
        self._utilizations = Utilizations(reported) if reported is not None else None
        self._update_s = reported.update_ms / 1000 if reported is not None else 0.0
        self._update = Timer(self._updated)

    # --- the cluster's endpoints ---------------------------------------------------------------------------------------------

    def join(self, watched: Watched) -> None:
        """Tells this cluster of changes as long as it lives."""
        self._watched.add(watched)

    def look(self) -> None:
        """The endpoints of a cluster have changed. Those that any generation still uses are remembered, because a new one may yet be refused."""
        everyone = (endpoint for watched in self._watched for endpoint in watched.known)
        addresses = list(dict.fromkeys((endpoint.address, endpoint.port) for endpoint in everyone))
        now = self._lane.now
        self._seen = {address: self._seen.get(address, now) for address in addresses}
        if self.outliers is not None:
            self.outliers.keep(addresses)
            self._gauge()
        if self._utilizations is not None:
            self._utilizations.keep(addresses)

    def is_up(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint may be chosen."""
        outliers = self.outliers
        return outliers is None or (endpoint.address, endpoint.port) not in outliers.ejected

    # --- what requests came to -----------------------------------------------------------------------------------------------

    def on_head(self, exchange: Exchange, status: int, fields: Fields) -> None:
        """An upstream answered."""
        outliers, endpoint = self.outliers, exchange.endpoint
        if self._utilizations is not None:
            self.on_fields(endpoint, fields)
        if outliers is None or endpoint is None:
            return
        grpc_status = fields.get(b"grpc-status")
        if exchange.grpc_status is not None and grpc_status is not None:
            status = http_of_grpc(grpc_status.decode("ascii", "replace"))
        if outliers.on_response((endpoint.address, endpoint.port), status, self._lane.now):
            self._changed()

    def on_fields(self, endpoint: Endpoint | None, fields: Fields) -> None:
        """Headers or trailers came that may say how busy their endpoint is."""
        reported = self._utilizations
        if reported is None or endpoint is None or (TEXT not in fields and BINARY not in fields):
            return
        report = read_report(fields)
        if report is not None:
            reported.on_report((endpoint.address, endpoint.port), report, self._lane.now)
            if self._update.due == NEVER:
                self._lane.wheel.set(self._update, self._lane.now, self._update_s)

    def on_failure(self, endpoint: Endpoint | None, failure: Failure) -> None:
        """An upstream did not answer. What is not its doing (a limit of ours, a downstream that left) is nothing here."""
        outliers = self.outliers
        if outliers is None or endpoint is None:
            return
        if failure in _LOCAL or failure in _RESET or failure in _TIMED_OUT:
            changed = outliers.on_failure(
                (endpoint.address, endpoint.port),
                self._lane.now,
                timed_out=failure in _TIMED_OUT,
                connected=failure in _RESET,
            )
            if changed:
                self._changed()

    def on_connected(self, endpoint: Endpoint | None) -> None:
        """A connection for plain bytes was made."""
        if self.outliers is not None and endpoint is not None:
            self.outliers.on_connected((endpoint.address, endpoint.port))

    def _changed(self) -> None:
        """An endpoint was ejected: the clusters choose without it, and the interval that may bring it back starts."""
        assert self.outliers is not None
        for cause, count in self.outliers.enforced.items():
            self._instruments.set(
                f"envoy_cluster_outlier_detection_ejections_enforced_{cause.value}", count, self._name
            )
        total = sum(self.outliers.enforced.values())
        self._instruments.set("envoy_cluster_outlier_detection_ejections_enforced_total", total, self._name)
        self._tell()
        if self._sweep.due == NEVER:
            self._lane.wheel.set(self._sweep, self._lane.now, self._sweep_s)

    def _interval(self) -> None:
        outliers = self.outliers
        assert outliers is not None
        if outliers.sweep(self._lane.now):
            self._tell()
        if outliers.watching and self._watched:
            self._lane.wheel.set(self._sweep, self._lane.now, self._sweep_s)

    def _tell(self) -> None:
        self._gauge()
        for watched in list(self._watched):
            watched.reselect()

    def _gauge(self) -> None:
        assert self.outliers is not None
        active, overflowed = len(self.outliers.ejected), self.outliers.overflowed
        self._instruments.set("envoy_cluster_outlier_detection_ejections_active", active, self._name)
        self._instruments.set("envoy_cluster_outlier_detection_ejections_overflow", overflowed, self._name)

    # --- utilization -----------------------------------------------------------------------------------------------------------

    def _updated(self) -> None:
        reported = self._utilizations
        assert reported is not None
        if reported.update(self._lane.now):
            for watched in list(self._watched):
                watched.reselect()
        if reported.watching and self._watched:
            self._lane.wheel.set(self._update, self._lane.now, self._update_s)

    def weighted(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The endpoints with the weights that they have now: by their load where that is asked for, less while they warm up."""
        reported = self._utilizations
        if reported is not None:
            weights, usual = reported.weights, reported.usual
            endpoints = tuple(
                msgspec.structs.replace(one, weight=weights.get((one.address, one.port), usual)) for one in endpoints
            )
        return self.warmed(endpoints)

    # --- warming up ----------------------------------------------------------------------------------------------------------

    def warmed(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The endpoints with the weights that they have so far. Where all are equally warm they are as they were."""
        warmup = self._warmup
        if warmup is None:
            return endpoints
        now = self._lane.now
        warmth = [_warmth(now - self._seen.get((one.address, one.port), now), warmup) for one in endpoints]
        if any(share < 1 for share in warmth) and self._warm.due == NEVER:
            step_s = max(warmup.duration_ms / 1000 / WARM_STEPS, SHORTEST_STEP_S)
            self._lane.wheel.set(self._warm, now, step_s)
        if len(set(warmth)) < 2:
            return endpoints
        return tuple(
            msgspec.structs.replace(one, weight=max(round(one.weight * share * 100), 1))
            for one, share in zip(endpoints, warmth, strict=True)
        )

    def warmth_percent(self, endpoint: Endpoint) -> int:
        """How much of its weight an endpoint has so far: 100 where it is warm, or nothing warms up here."""
        if self._warmup is None:
            return 100
        now = self._lane.now
        return round(100 * _warmth(now - self._seen.get((endpoint.address, endpoint.port), now), self._warmup))

    def _warmer(self) -> None:
        for watched in list(self._watched):
            watched.reselect()


def _warmth(age_s: float, warmup: Warmup) -> float:
    """The share of its weight that an endpoint of an age has (Envoy's slow start)."""
    passed = min(max(age_s, 0.001) * 1000 / warmup.duration_ms, 1.0)
    return max(math.pow(passed, 100 / warmup.aggression_percent), warmup.minimum_percent / 100)


_Remembered = tuple[str, OutlierDetection | None, Warmup | None, Utilization | None]
TableKey = tuple[str, ConsistentHash, tuple[Weighted, ...]]


class Watches:
    """All Watches of a worker, each as long as a generation uses it; and as long the tables of keys, which cost much to build."""

    def __init__(self, lane: Lane, instruments: Instruments) -> None:
        self._lane = lane
        self._instruments = instruments
        self.tables: WeakValueDictionary[TableKey, Table] = WeakValueDictionary()
        self._known: WeakValueDictionary[_Remembered, Watch] = WeakValueDictionary()

    def of(self, cluster: Cluster) -> Watch | None:
        """The memory of a cluster; None where it needs none."""
        if cluster.outlier is None and cluster.warmup is None and cluster.utilization is None:
            return None
        key = (cluster.name, cluster.outlier, cluster.warmup, cluster.utilization)
        watch = self._known.get(key)
        if watch is None:
            watch = self._known[key] = Watch(cluster, self._lane, self._instruments)
        return watch
