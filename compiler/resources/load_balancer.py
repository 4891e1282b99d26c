"""``loadBalancer`` and ``outlierDetection`` of a traffic policy, and the locality settings that MeshConfig has, too."""

from __future__ import annotations

from math import isqrt

import msgspec

from compiler.resources.cursor import Cursor
from policies.balancing import LocalityLoad, OutlierDetection, Utilization, Warmup
from snapshot.section import ConsistentHash

LARGEST_TABLE = 5_000_011
"""Maglev's largest table (Envoy), a prime number."""

DEFAULT_RING_SIZE = 1024
"""Istio's, where the rule gives none."""

BALANCES = {
    "UNSPECIFIED": "least_request",
    "LEAST_CONN": "least_request",
    "LEAST_REQUEST": "least_request",
    "ROUND_ROBIN": "round_robin",
    "RANDOM": "random",
    "PASSTHROUGH": "passthrough",
}


class LocalitySetting(msgspec.Struct, frozen=True):
    """``localityLbSetting``: one that is not enabled says that no locality is preferred."""

    load: LocalityLoad = LocalityLoad()
    enabled: bool = True


SHORTEST_UPDATE_MS = 100
"""Of weights by utilization (Envoy)."""

DEFAULT_ZONE_MINIMUM = 6
"""Of ``minClusterSize`` (Istio's and Envoy's)."""


class LoadBalancer(msgspec.Struct, frozen=True):
    """``loadBalancer``; ``locality`` is what ``zoneAwareLbSetting`` or ``localityLbSetting`` says.

    A policy has all of it or none: a subset's replaces its host's whole (Istio).
    """

    balance: str = "least_request"
    hashing: ConsistentHash | None = None
    locality: LocalitySetting | None = None
    warmup: Warmup | None = None
    utilization: Utilization | None = None


def read_load_balancer(balancer: Cursor | None) -> LoadBalancer | None:
    """A ``loadBalancer``; a consistent hash that names nothing to hash is no hash (Istio then leaves the default)."""
    if balancer is None:
        return None
    hashed = balancer.at("consistentHash")
    hashing = _hashing(hashed)
    balance = BALANCES.get(balancer.text("simple", "UNSPECIFIED"), "least_request")
    if hashing is not None:
        balance = "maglev" if hashed is not None and hashed.has("maglev") else "ring_hash"
    utilization = _utilization(balancer.at("backendUtilization"))
    if utilization is not None:
        balance = "round_robin"
    return LoadBalancer(balance, hashing, read_localities(balancer), _warmup(balancer), utilization)


def _utilization(written: Cursor | None) -> Utilization | None:
    """A ``backendUtilization``; a period of 0 is one that is not written, but for the one before reports count."""
    if written is None:
        return None
    default = Utilization()
    return Utilization(
        penalty_percent=written.number("errorUtilizationPenaltyPercent", default.penalty_percent),
        metrics=written.texts("metricNamesForComputingUtilization"),
        expiration_ms=written.duration_ms("weightExpirationPeriod") or default.expiration_ms,
        stabilization_ms=written.duration_ms("weightStabilizationPeriod") or 0
        if written.has("weightStabilizationPeriod")
        else default.stabilization_ms,
        update_ms=max(written.duration_ms("weightUpdatePeriod") or default.update_ms, SHORTEST_UPDATE_MS),
    )


def read_localities(owner: Cursor) -> LocalitySetting | None:
    """What a load balancer, or the mesh, says of localities: by zones before all else (Istio)."""
    return _zone_aware(owner.at("zoneAwareLbSetting")) or read_locality(owner.at("localityLbSetting"))


def _zone_aware(written: Cursor | None) -> LocalitySetting | None:
    """A ``zoneAwareLbSetting``. Its levels need nothing that finds endpoints ill: regions are apart in any case."""
    if written is None:
        return None
    load = LocalityLoad(
        failover=_failover(written),
        priority=written.texts("failoverPriority"),
        zone_minimum=written.number("minClusterSize") or DEFAULT_ZONE_MINIMUM,
    )
    return LocalitySetting(load, enabled=written.flag("enabled") or not written.has("enabled"))


def _failover(written: Cursor) -> tuple[tuple[str, str], ...]:
    return tuple((one.text("from"), one.text("to")) for one in written.each("failover"))


def read_locality(written: Cursor | None) -> LocalitySetting | None:
    """A ``localityLbSetting``."""
    if written is None:
        return None
    load = LocalityLoad(
        distribute=tuple(
            (one.text("from"), tuple((name, int(share)) for name, share in one.pairs("to")))
            for one in written.each("distribute")
        ),
        failover=_failover(written),
        priority=written.texts("failoverPriority"),
    )
    return LocalitySetting(load, enabled=written.flag("enabled") or not written.has("enabled"))


def read_outlier(written: Cursor | None) -> OutlierDetection | None:
    """An ``outlierDetection``, with Istio's defaults for what it does not say.

    ``consecutiveErrors`` is what Istio calls deprecated: it counts gateway errors.
    """
    if written is None:
        return None
    default = OutlierDetection()
    return OutlierDetection(
        consecutive_5xx=written.number("consecutive5xxErrors", default.consecutive_5xx),
        consecutive_gateway=written.number("consecutiveGatewayErrors", written.number("consecutiveErrors")),
        split=written.flag("splitExternalLocalOriginErrors"),
        consecutive_local=written.number("consecutiveLocalOriginFailures") or default.consecutive_local,
        interval_ms=written.duration_ms("interval") or default.interval_ms,
        base_ejection_ms=written.duration_ms("baseEjectionTime") or default.base_ejection_ms,
        max_ejection_percent=written.number("maxEjectionPercent") or default.max_ejection_percent,
        min_health_percent=written.number("minHealthPercent"),
        statuses=tuple(sorted({int(code) for code in written.texts("outlierDetectionHttpErrorCodes")})),
    )


def _warmup(balancer: Cursor) -> Warmup | None:
    """Only weighted choices can be warmed up (Istio: ROUND_ROBIN and LEAST_REQUEST)."""
    warmup = balancer.at("warmup")
    if warmup is None:
        short_ms = balancer.duration_ms("warmupDurationSecs")
        return Warmup(short_ms) if short_ms else None
    duration_ms = warmup.duration_ms("duration")
    if not duration_ms:
        return None
    default = Warmup(duration_ms)
    minimum, aggression = warmup.fraction("minimumPercent"), warmup.fraction("aggression")
    return Warmup(
        duration_ms,
        default.minimum_percent if minimum is None else round(minimum),
        default.aggression_percent if aggression is None else max(round(aggression * 100), 1),
    )


def _hashing(written: Cursor | None) -> ConsistentHash | None:
    if written is None:
        return None
    ring, maglev = written.at("ringHash") or written, written.at("maglev")
    size = ring.number("minimumRingSize") or DEFAULT_RING_SIZE
    on = _hashed_by(written)
    if on is None:
        return None
    table = (maglev.number("tableSize") if maglev is not None else 0) or on.table_size
    return msgspec.structs.replace(on, minimum_ring_size=size, table_size=_prime(min(table, LARGEST_TABLE)))


def _prime(size: int) -> int:
    """The first prime number that is not below a size: in a table of another size, Maglev's steps do not meet every place."""
    while any(size % divisor == 0 for divisor in range(2, isqrt(size) + 1)) or size < 2:
        size += 1
    return size


def _hashed_by(written: Cursor) -> ConsistentHash | None:
    cookie = written.at("httpCookie")
    if cookie is not None:
        attributes = tuple((one.text("name"), one.text("value")) for one in cookie.each("attributes"))
        return ConsistentHash("cookie", cookie.text("name"), cookie.text("path"), cookie.duration_ms("ttl"), attributes)
    if written.has("httpHeaderName"):
        return ConsistentHash("header", written.text("httpHeaderName").lower())
    if written.has("httpQueryParameterName"):
        return ConsistentHash("query", written.text("httpQueryParameterName"))
    return ConsistentHash("source_ip") if written.flag("useSourceIp") else None
