"""Locality load balancing that waits for endpoints to be found unhealthy, where nothing looks."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0134 at localityLbSetting; a subset inherits the host's outlierDetection, a port's settings inherit nothing."""
    if mesh.config.baseline is not None and mesh.config.baseline.outlier is not None:
        return
    for item in mesh.written("DestinationRule"):
        policy = item.spec.at("trafficPolicy")
        places = [(policy, policy)] if policy else []
        levels = [*(policy.each("portLevelSettings") if policy else ())]
        for subset in item.spec.each("subsets"):
            own = subset.at("trafficPolicy")
            if own is not None:
                places.append((own, own if own.has("outlierDetection") else policy or own))
                levels += own.each("portLevelSettings")
        places += [(level, level) for level in levels]
        for place, detecting in places:
            setting = _setting(place)
            if setting is not None and not detecting.has("outlierDetection"):
                what = "failover between localities" if _fails_over(setting) else "preferring the own locality"
                message = f"{what} needs outlierDetection, and this policy has none"
                yield diagnostic("WFT0134", message, setting.span, resource=item.meta.id)


def _setting(policy: Cursor) -> Cursor | None:
    balancer = policy.at("loadBalancer")
    setting = balancer.at("localityLbSetting") if balancer else None
    if setting is None or (setting.has("enabled") and not setting.flag("enabled")):
        return None
    return None if setting.each("distribute") else setting


def _fails_over(setting: Cursor) -> bool:
    return bool(setting.each("failover") or setting.texts("failoverPriority"))
