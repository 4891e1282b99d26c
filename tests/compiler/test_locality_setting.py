"""Whose locality setting holds, by Istio's own table."""

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
from snapshot.section import Cluster
from tests.compiler.compiled import compiled, conformance

DISTRIBUTIONS = {1: "PreferSameZone"}


def setting(locality: dict[str, Any] | None, zones: dict[str, Any] | None) -> LocalitySetting | None:
    """What one owner says, by zones before all else."""
    written = locality if zones is None else zones
    if written is None:
        return None
    failover = tuple(("r1", "r2") for _ in written.get("failover", ()))
    load = LocalityLoad(failover=failover, zone_minimum=0 if zones is None else 6)
    return LocalitySetting(load, enabled=written.get("enabled", True))


def found(row: dict[str, Any], *, outlier: bool) -> LocalityLoad | None:
    """What weft makes of a row."""
    attributes = row.get("svc", {}).get("Attributes", {}).get("K8sAttributes", {})
    distribution = DISTRIBUTIONS.get(attributes.get("TrafficDistribution"), "")
    meta: Meta = None  # type: ignore[assignment]
    origin = Service(meta, (), (), (), "", ("*",), traffic_distribution=distribution)
    rule = row.get("dr", {})
    written = setting(rule.get("localityLbSetting"), rule.get("zoneAwareLbSetting"))
    balancer = LoadBalancer(locality=written) if written is not None else None
    settings = setting(row.get("meshLocality", {"enabled": False}), row.get("meshZoneAware"))
    mesh = SimpleNamespace(config=SimpleNamespace(locality=settings))
    policy = TrafficPolicy(balancer=balancer, outlier=OutlierDetection() if outlier else None)
    return locality_load(mesh, SimpleNamespace(origin=origin), policy)  # type: ignore[arg-type]


def test_istios_table_of_effective_settings() -> None:
    tables = json.loads(conformance("tables", "loadbalancer.json").read_text())["tables"]
    rows = [row for table in tables if table["test"] == "TestGetEffectiveLbSetting" for row in table["rows"]]
    judged = 0
    for row in rows:
        judged += 1
        zones = row.get("expectedZoneAware")
        expected, load = row.get("expectedLocality") if zones is None else zones, found(row, outlier=True)
        if zones is not None and not row["expectedRoutingEnabled"]:
            expected = None
        assert bool(load is not None and load.zone_minimum) == bool(zones is not None and expected), row["name"]
        assert (load is not None) == (expected is not None), row["name"]
        if load is not None:
            assert list(load.priority) == expected.get("failoverPriority", []), row["name"]
            assert len(load.failover) == len(expected.get("failover", [])), row["name"]
            forced = found(row, outlier=False) is not None
            assert forced == row.get("expectedForce", False), row["name"]
    assert judged == len(rows) >= 16


def test_zones_are_read_of_rules_and_of_the_mesh_and_exclude_other_settings() -> None:
    written = "zoneAwareLbSetting: {minClusterSize: 3, failover: [{from: east, to: west}], failoverPriority: [rack]}"
    load = LocalityLoad(failover=(("east", "west"),), priority=("rack",), fails_over=True, zone_minimum=3)
    assert cluster_with(written, "").locality == load
    assert cluster_with("", written).locality == load
    assert cluster_with("zoneAwareLbSetting: {enabled: true}", "").locality == LocalityLoad(
        fails_over=True, zone_minimum=6
    )
    assert cluster_with("zoneAwareLbSetting: {enabled: false}", written).locality is None


def cluster_with(rule: str, mesh: str) -> Cluster:
    """The cluster of a service under a rule with this load balancer, in a mesh with these settings."""
    files = f"""\
apiVersion: v1
kind: Service
metadata: {{name: a, namespace: shop}}
spec: {{selector: {{app: a}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: shop, labels: {{app: a}}}}
spec: {{containers: [{{name: a, image: a}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a, namespace: shop}}
spec: {{host: a, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN{", " if rule else ""}{rule}}}}}}}
---
apiVersion: weft/v1
kind: MeshConfig
spec: {{{mesh}}}
"""
    return compiled(files).slice("sidecar/shop/a").clusters["outbound|80||a.shop.svc.cluster.local"]
