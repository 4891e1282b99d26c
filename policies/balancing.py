"""How a cluster spreads its requests over its endpoints, and when it leaves one out, as data.

The rules are Istio's (DestinationRule) and the arithmetic Envoy's. Units are in the names; a share is in parts per million.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

LOCALITY_LABELS = ("topology.istio.io/locality", "istio-locality")
"""Labels that say where a workload stands, the first that is there."""


class OutlierDetection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Endpoints are left out after so many failures in a row; a count of 0 is off.

    ``consecutive_5xx`` counts every 5xx, ``consecutive_gateway`` 502, 503 and 504. A connection that fails, a reset and a time-out are
    503 and 504 in that, unless ``split`` counts them by themselves against ``consecutive_local``. ``statuses`` are what counts as a
    failure instead of 5xx, where there are any. An endpoint is out for ``base_ejection_ms`` times how often it was; it comes back at the next
    ``interval_ms``. No ejection makes more than ``max_ejection_percent`` of the endpoints be out. Below ``min_health_percent`` healthy
    ones, all are used.
    """

    consecutive_5xx: int = 5
    consecutive_gateway: int = 0
    split: bool = False
    consecutive_local: int = 5
    interval_ms: int = 10_000
    base_ejection_ms: int = 30_000
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    statuses: tuple[int, ...] = ()


class LocalityLoad(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which localities (``region/zone/subzone``) take a proxy's requests, seen from the proxy's own.

    ``distribute`` gives, per own locality, shares of others and excludes what it does not name. Else, with ``fails_over``, near endpoints
    come before far ones: by ``priority``, labels in which endpoint and proxy must agree (``label`` or ``label=value``), then by locality,
    where ``failover`` names the region that comes before other regions.

    With ``zone_minimum`` (over 0) regions are levels, and inside the nearest one as much stays in the proxy's own locality as that can take
    without being busier than the others, provided that the level has so many endpoints up (Envoy's zone aware routing).
    """

    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priority: tuple[str, ...] = ()
    fails_over: bool = False
    zone_minimum: int = 0


def labelled_locality(labels: Mapping[str, str]) -> str:
    """The locality that a workload's labels give it, with ``.`` for ``/`` as label values are written; "" where none does."""
    return next((labels[name].replace(".", "/") for name in LOCALITY_LABELS if labels.get(name)), "")


class Warmup(msgspec.Struct, frozen=True, omit_defaults=True):
    """A new endpoint starts with ``minimum_percent`` of its weight and has all of it after ``duration_ms``. ``aggression_percent`` of 100
    rises evenly, more rises early."""

    duration_ms: int
    minimum_percent: int = 10
    aggression_percent: int = 100


class Utilization(msgspec.Struct, frozen=True, omit_defaults=True):
    """Endpoints weigh what they say of their load: requests per second over utilization, with failures per request counted as utilization by
    ``penalty_percent``. ``metrics`` are the reported ones that are the utilization where the application says none itself.

    A report counts from ``stabilization_ms`` after the first and for ``expiration_ms``; weights are worked out each ``update_ms``.
    """

    penalty_percent: int = 100
    metrics: tuple[str, ...] = ()
    expiration_ms: int = 180_000
    stabilization_ms: int = 10_000
    update_ms: int = 1_000


class RetryBudget(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many retries a cluster takes at once: a share of its requests in flight, and never fewer than ``minimum``."""

    per_million: int = 200_000
    minimum: int = 3


class KeepAlive(msgspec.Struct, frozen=True, omit_defaults=True):
    """TCP keep-alive of upstream connections; 0 leaves a value to the operating system."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0
