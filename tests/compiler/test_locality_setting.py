"""Whose locality setting holds, by Istio's own table (the rows without zone-aware routing, which is not carried)."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from compiler.link.balancing import locality_load
from compiler.resources.destination_rule import TrafficPolicy
from compiler.resources.kubernetes import Service
from compiler.resources.load_balancer import LoadBalancer, LocalitySetting
from compiler.resources.meta import Meta
from policies.balancing import LocalityLoad, OutlierDetection
from tests.compiler.compiled import conformance

DISTRIBUTIONS = {1: "PreferSameZone"}


def setting(written: dict[str, Any]) -> LocalitySetting:
    failover = tuple(("r1", "r2") for _ in written.get("failover", ()))
    return LocalitySetting(LocalityLoad(failover=failover), enabled=written.get("enabled", True))


def found(row: dict[str, Any], *, outlier: bool) -> LocalityLoad | None:
    """What weft makes of a row."""
    attributes = row.get("svc", {}).get("Attributes", {}).get("K8sAttributes", {})
    distribution = DISTRIBUTIONS.get(attributes.get("TrafficDistribution"), "")
    meta: Meta = None  # type: ignore[assignment]
    origin = Service(meta, (), (), (), "", ("*",), traffic_distribution=distribution)
    written = row.get("dr", {}).get("localityLbSetting")
    balancer = LoadBalancer(locality=setting(written)) if written is not None else None
    mesh = SimpleNamespace(config=SimpleNamespace(locality=setting(row.get("meshLocality", {"enabled": False}))))
    policy = TrafficPolicy(balancer=balancer, outlier=OutlierDetection() if outlier else None)
    return locality_load(mesh, SimpleNamespace(origin=origin), policy)  # type: ignore[arg-type]


def test_istios_table_of_effective_settings() -> None:
    tables = json.loads(conformance("tables", "loadbalancer.json").read_text())["tables"]
    rows = [row for table in tables if table["test"] == "TestGetEffectiveLbSetting" for row in table["rows"]]
    judged = 0
    for row in rows:
        if "meshZoneAware" in row or "zoneAwareLbSetting" in row.get("dr", {}):
            continue
        judged += 1
        expected, load = row.get("expectedLocality"), found(row, outlier=True)
        assert (load is not None) == (expected is not None), row["name"]
        if load is not None:
            assert list(load.priority) == expected.get("failoverPriority", []), row["name"]
            assert len(load.failover) == len(expected.get("failover", [])), row["name"]
            forced = found(row, outlier=False) is not None
            assert forced == row.get("expectedForce", False), row["name"]
    assert judged >= 9
