"""``/clusters``: every cluster with its endpoints now, in Envoy's two forms. Workers tell, the supervisor adds up.

Numbers that Envoy writes as 64-bit integers are strings in JSON (protobuf's rule), and those that are 0 are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from runtime.balance.cluster import LiveCluster
from runtime.generation import Generation
from snapshot.section import Endpoint

UNLIMITED = 4_294_967_295
"""What Envoy shows of a circuit breaker that never breaks."""

GAUGES = frozenset({"cx_active", "rq_active"})
HOST_STATS = (
    "cx_active",
    "cx_connect_fail",
    "cx_total",
    "rq_active",
    "rq_error",
    "rq_success",
    "rq_timeout",
    "rq_total",
)


class HostStatus(msgspec.Struct, omit_defaults=True):
    """One endpoint as a worker has it. ``stats`` are Envoy's names."""

    address: str
    port: int
    stats: dict[str, int] = {}
    weight: int = 1
    locality: str = ""
    hostname: str = ""
    identity: str = ""
    healthy: bool = True


class ClusterStatus(msgspec.Struct, omit_defaults=True):
    """One cluster as a worker has it; ``limits`` are its circuit breaker's bounds by Envoy's names."""

    name: str
    limits: dict[str, int]
    hosts: list[HostStatus]


def of_generation(generation: Generation) -> list[ClusterStatus]:
    """What one worker knows."""
    return [_status(name, cluster) for name, cluster in sorted(generation.clusters.items())]


def _status(name: str, cluster: LiveCluster) -> ClusterStatus:
    limits = cluster.section.limits
    return ClusterStatus(
        name,
        {
            "max_connections": limits.max_connections or UNLIMITED,
            "max_pending_requests": limits.max_pending_requests or UNLIMITED,
            "max_requests": limits.max_requests or UNLIMITED,
        },
        [_host(cluster, endpoint) for endpoint in cluster.known],
    )


def _host(cluster: LiveCluster, endpoint: Endpoint) -> HostStatus:
    return HostStatus(
        endpoint.address,
        endpoint.port,
        {"rq_active": cluster.active(endpoint)},
        endpoint.weight,
        endpoint.locality,
        endpoint.workload,
        endpoint.identity,
        cluster.is_up(endpoint),
    )


def added(parts: Iterable[Sequence[ClusterStatus]]) -> list[ClusterStatus]:
    """One answer from those of several workers: their endpoints are the same, their counts are added."""
    clusters: dict[str, ClusterStatus] = {}
    for part in parts:
        for status in part:
            known = clusters.setdefault(status.name, status)
            if known is not status:
                _add(known, status)
    return [clusters[name] for name in sorted(clusters)]


def _add(known: ClusterStatus, other: ClusterStatus) -> None:
    hosts = {(one.address, one.port): one for one in known.hosts}
    for host in other.hosts:
        same = hosts.get((host.address, host.port))
        if same is None:
            known.hosts.append(host)
            continue
        for name, value in host.stats.items():
            same.stats[name] = same.stats.get(name, 0) + value


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
        "address": {"socket_address": {"address": host.address, "port_value": host.port}},
        "stats": [_stat(name, host.stats.get(name, 0)) for name in HOST_STATS],
        "health_status": {"eds_health_status": "HEALTHY"} if host.healthy else {"failed_outlier_check": True},
        "weight": host.weight,
        "locality": _locality(host.locality),
    }
    if host.hostname:
        shown["hostname"] = host.hostname
    if host.identity:
        shown["metadata"] = {"filter_metadata": {"weft": {"identity": host.identity}}}
    return shown


def _stat(name: str, value: int) -> dict[str, str]:
    shown = {"type": "GAUGE"} if name in GAUGES else {}
    return {**shown, **({"value": str(value)} if value else {}), "name": name}


def _locality(text: str) -> dict[str, str]:
    parts = zip(("region", "zone", "sub_zone"), text.split("/"), strict=False)
    return {name: part for name, part in parts if part}


def as_text(statuses: Sequence[ClusterStatus]) -> str:
    """Envoy's ``/clusters``: a line per fact, its parts joined by ``::``."""
    return "".join(f"{line}\n" for status in statuses for line in _lines(status))


def _lines(status: ClusterStatus) -> Iterator[str]:
    name = status.name
    yield f"{name}::observability_name::{name}"
    for limit, value in status.limits.items():
        yield f"{name}::default_priority::{limit}::{value}"
    yield f"{name}::added_via_api::true"
    for host in status.hosts:
        locality = _locality(host.locality)
        facts = {
            **{stat: host.stats.get(stat, 0) for stat in HOST_STATS},
            "hostname": host.hostname,
            "health_flags": "healthy" if host.healthy else "/failed_outlier_check",
            "weight": host.weight,
            **{part: locality.get(part, "") for part in ("region", "zone", "sub_zone")},
            "canary": "false",
            "priority": 0,
        }
        for fact, shown in facts.items():
            yield f"{name}::{host.address}:{host.port}::{fact}::{shown}"
