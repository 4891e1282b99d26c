"""``/clusters``: every cluster with its endpoints now, in Envoy's two forms. Workers tell, the supervisor adds up.

Numbers that Envoy writes as 64-bit integers are strings in JSON (protobuf's rule), and those that are 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from runtime.balance.cluster import LiveCluster
from runtime.generation import Generation
from runtime.http.pool import Place, Pool, Pools
from runtime.http.tally import ClusterLoad
from runtime.socket_address import is_path, shown
from snapshot.section import Endpoint, OriginalDestination, PoolLimits

UNLIMITED = 4_294_967_295
"""What Envoy shows of a circuit breaker that never breaks."""

GAUGES = ("cx_active", "rq_active", "rq_pending_active")
COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
EJECTED = "failed_outlier_check"
UNKNOWN_RATE = -1
"""What Envoy shows of a success rate that it does not compute: weft ejects by failures in a row alone."""

_RATES = (
    "success_rate_average",
    "success_rate_ejection_threshold",
    "local_origin_success_rate_average",
    "local_origin_success_rate_ejection_threshold",
)


class HostStatus(msgspec.Struct, omit_defaults=True):
    """One endpoint as a worker has it. ``stats`` are Envoy's names, ``flags`` its names of what speaks against the endpoint.

    ``warmth`` is the percentage of its weight that an endpoint which warms up has so far."""

    address: str
    port: int
    stats: dict[str, int] = {}
    weight: int = 1
    locality: str = ""
    hostname: str = ""
    identity: str = ""
    flags: list[str] = []
    priority: int = 0
    warmth: int = 100


class ClusterStatus(msgspec.Struct, omit_defaults=True):
    """One cluster as a worker has it; ``limits`` are its circuit breaker's bounds and ``stats`` its own numbers, both by Envoy's names.

    ``ejects`` says that outlier detection is on."""

    name: str
    limits: dict[str, int]
    hosts: list[HostStatus]
    stats: dict[str, int] = {}
    ejects: bool = False


def of_clusters(generation: Generation, pools: Pools) -> Iterator[ClusterStatus]:
    """What one worker knows, cluster by cluster."""
    places = pools.by_place()
    for name, cluster in sorted(generation.clusters.items()):
        load = pools.loads.get(name)
        priorities = cluster.priorities()
        hosts = [
            _host(cluster, one, places.get((name, one.address, one.port), ()), priorities)
            for one in _endpoints(cluster, places)
        ]
        limits = cluster.section.limits
        stats = _stats(load, limits) if load is not None else {}
        yield ClusterStatus(name, _limits(limits), hosts, stats, cluster.section.outlier is not None)


def _endpoints(cluster: LiveCluster, places: dict[Place, list[Pool]]) -> Iterable[Endpoint]:
    """The endpoints of a cluster; of one that goes where requests say, those that it has gone to."""
    if not isinstance(cluster.section.endpoints, OriginalDestination):
        return cluster.known
    return [pools[0].endpoint for (name, _, _), pools in places.items() if name == cluster.section.name]


def _limits(limits: PoolLimits) -> dict[str, int]:
    return {
        "max_connections": limits.max_connections or UNLIMITED,
        "max_pending_requests": limits.max_pending_requests or UNLIMITED,
        "max_requests": limits.max_requests or UNLIMITED,
        "max_retries": limits.max_retries or UNLIMITED,
    }


def _stats(load: ClusterLoad, limits: PoolLimits) -> dict[str, int]:
    """A cluster's own numbers; those that are 0 are left out."""
    used = {
        "cx": (load.connections, limits.max_connections),
        "rq_pending": (load.pending, limits.max_pending_requests),
        "rq": (load.requests, limits.max_requests),
        "rq_retry": (load.retries, limits.max_retries),
    }
    every = {
        "upstream_cx_total": load.opened,
        "upstream_cx_active": load.connections,
        "upstream_cx_http1_total": load.http1_opened,
        "upstream_cx_http2_total": load.http2_opened,
        "upstream_cx_connect_fail": load.connect_failed,
        "upstream_cx_connect_timeout": load.connect_timed_out,
        "upstream_rq_total": load.granted,
        "upstream_rq_active": load.requests,
        "upstream_rq_pending_total": load.queued,
        "upstream_rq_pending_active": load.pending,
        "upstream_rq_retry": load.retried,
        "upstream_rq_retry_success": load.recovered,
        "upstream_rq_retry_limit_exceeded": load.exhausted,
        "upstream_rq_timeout": load.timed_out,
        "upstream_rq_per_try_timeout": load.try_timed_out,
        "upstream_rq_rx_reset": load.reset,
        "upstream_cx_protocol_error": load.broken,
        "upstream_cx_destroy_remote_with_active_rq": load.left,
        **{
            f"circuit_breakers.default.{name}_open": int(bool(most) and now >= most)
            for name, (now, most) in used.items()
        },
    }
    return {name: value for name, value in every.items() if value}


def _host(
    cluster: LiveCluster, endpoint: Endpoint, here: Sequence[Pool], priorities: Mapping[tuple[str, int], int]
) -> HostStatus:
    return HostStatus(
        endpoint.address,
        endpoint.port,
        _host_stats(here),
        endpoint.weight,
        endpoint.locality,
        endpoint.workload,
        endpoint.identity,
        [] if cluster.is_up(endpoint) else [EJECTED],
        priorities.get((endpoint.address, endpoint.port), 0),
        cluster.watch.warmth_percent(endpoint) if cluster.watch is not None else 100,
    )


def _host_stats(here: Sequence[Pool]) -> dict[str, int]:
    if not here:
        return {}
    tally = here[0].tally
    every = {
        "cx_active": sum(len(pool.connections) for pool in here),
        "cx_connect_fail": tally.connect_failed,
        "cx_total": tally.opened,
        "rq_active": sum(pool.active for pool in here),
        "rq_error": tally.erred,
        "rq_pending_active": sum(pool.pending for pool in here),
        "rq_success": tally.succeeded,
        "rq_timeout": tally.timed_out,
        "rq_total": tally.past + sum(one.requests for pool in here for one in pool.connections),
    }
    return {name: value for name, value in every.items() if value}


# --- from several workers to one answer --------------------------------------------------------------------------------------


def added(parts: Iterable[Sequence[ClusterStatus]]) -> list[ClusterStatus]:
    """One answer from those of several workers: their endpoints are the same, their counts are added, their flags joined."""
    clusters: dict[str, ClusterStatus] = {}
    for part in parts:
        for status in part:
            known = clusters.setdefault(status.name, status)
            if known is not status:
                _add(known, status)
    return [clusters[name] for name in sorted(clusters)]


def _add(known: ClusterStatus, other: ClusterStatus) -> None:
    for name, value in other.stats.items():
        before = known.stats.get(name, 0)
        # A breaker is open where it is in any worker.
        known.stats[name] = max(before, value) if name.endswith("_open") else before + value
    hosts = {(one.address, one.port): one for one in known.hosts}
    for host in other.hosts:
        same = hosts.get((host.address, host.port))
        if same is None:
            known.hosts.append(host)
            continue
        for name, value in host.stats.items():
            same.stats[name] = same.stats.get(name, 0) + value
        same.flags = sorted({*same.flags, *host.flags})


# --- the two forms -----------------------------------------------------------------------------------------------------------


def as_json(statuses: Sequence[ClusterStatus]) -> dict[str, Any]:
    """Envoy's ``/clusters?format=json``."""
    return {"cluster_statuses": [_cluster_json(one) for one in statuses]}


def _cluster_json(status: ClusterStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "added_via_api": True,
        "host_statuses": [_host_json(host) for host in status.hosts],
        "circuit_breakers": {"thresholds": [status.limits]},
        "observability_name": status.name,
    }


def _host_json(host: HostStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "address": _address(host),
        "stats": [
            *(_stat(name, host.stats.get(name, 0)) for name in COUNTERS),
            *({"type": "GAUGE", **_stat(name, host.stats.get(name, 0))} for name in GAUGES),
        ],
        "health_status": {**dict.fromkeys(host.flags, True), "eds_health_status": "HEALTHY"},
        "weight": host.weight,
        "locality": locality_of(host.locality),
    }
    if host.priority:
        shown["priority"] = host.priority
    if host.hostname:
        shown["hostname"] = host.hostname
    ours: dict[str, object] = {"identity": host.identity} if host.identity else {}
    if host.warmth < 100:
        ours["warmup_percent"] = host.warmth
    if ours:
        shown["metadata"] = {"filter_metadata": {"weft": ours}}
    return shown


def _stat(name: str, value: int) -> dict[str, str]:
    return {"value": str(value), "name": name} if value else {"name": name}


def lb_endpoint(host: HostStatus) -> dict[str, Any]:
    """An endpoint as Envoy's LbEndpoint."""
    return {
        "endpoint": {"address": _address(host), "health_check_config": {}, "hostname": host.hostname},
        "health_status": "UNHEALTHY" if host.flags else "HEALTHY",
        "load_balancing_weight": host.weight,
    }


def _address(host: HostStatus) -> dict[str, Any]:
    if is_path(host.address):
        return {"pipe": {"path": host.address}}
    return {"socket_address": {"address": host.address, "port_value": host.port}}


def locality_of(text: str) -> dict[str, str]:
    """Envoy's Locality of ``region/zone/subzone``."""
    parts = zip(("region", "zone", "sub_zone"), text.split("/"), strict=False)
    return {name: part for name, part in parts if part}


def as_text(statuses: Sequence[ClusterStatus]) -> str:
    """Envoy's ``/clusters``: a line per fact, its parts joined by ``::``."""
    return "".join(f"{line}\n" for status in statuses for line in _lines(status))


def _lines(status: ClusterStatus) -> Iterator[str]:
    name = status.name
    yield f"{name}::observability_name::{name}"
    for rate in _RATES if status.ejects else ():
        yield f"{name}::outlier::{rate}::{UNKNOWN_RATE}"
    for limit, value in status.limits.items():
        yield f"{name}::default_priority::{limit}::{value}"
    yield f"{name}::added_via_api::true"
    for host in status.hosts:
        where = shown(host.address, host.port)
        for fact, told in _facts(host).items():
            yield f"{name}::{where}::{fact}::{told}"


def _facts(host: HostStatus) -> dict[str, object]:
    locality = locality_of(host.locality)
    return {
        **{stat: host.stats.get(stat, 0) for stat in sorted((*COUNTERS, *GAUGES))},
        "hostname": host.hostname,
        "health_flags": "".join(f"/{flag}" for flag in host.flags) or "healthy",
        "weight": host.weight,
        **{part: locality.get(part, "") for part in ("region", "zone", "sub_zone")},
        "canary": "false",
        "priority": host.priority,
        "success_rate": UNKNOWN_RATE,
        "local_origin_success_rate": UNKNOWN_RATE,
        **({"warmup_percent": host.warmth} if host.warmth < 100 else {}),
    }
