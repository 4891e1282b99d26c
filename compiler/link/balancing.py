"""Which localities a cluster prefers: the DestinationRule's setting, else the Service's traffic distribution, else the mesh's (Istio)."""

from __future__ import annotations

import msgspec

from compiler.mesh import Mesh, MeshService
from compiler.resources.destination_rule import TrafficPolicy
from compiler.resources.kubernetes import Service
from compiler.resources.load_balancer import LocalitySetting
from policies.balancing import LocalityLoad

_NETWORK = "topology.istio.io/network"
_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_SAME_ZONE = (_NETWORK, _REGION, _ZONE)
_DISTRIBUTIONS = {
    "PreferClose": _SAME_ZONE,
    "PreferSameZone": _SAME_ZONE,
    "PreferSameNode": (*_SAME_ZONE, "topology.istio.io/subzone", "kubernetes.io/hostname"),
}


def locality_load(mesh: Mesh, service: MeshService, policy: TrafficPolicy) -> LocalityLoad | None:
    """None where no locality is preferred. Failing over needs something that finds endpoints ill, unless the Service itself asks for it."""
    written = policy.balancer.locality if policy.balancer is not None else None
    distribution = service.origin.traffic_distribution if isinstance(service.origin, Service) else ""
    forced = written is None and distribution in _DISTRIBUTIONS
    if forced:
        return LocalityLoad(priority=_DISTRIBUTIONS[distribution], fails_over=True)
    setting: LocalitySetting = written or mesh.config.locality
    if not setting.enabled:
        return None
    if setting.load.distribute:
        return LocalityLoad(distribute=setting.load.distribute)
    if setting.load.zone_minimum:
        return msgspec.structs.replace(setting.load, fails_over=True)
    return msgspec.structs.replace(setting.load, fails_over=True) if policy.outlier is not None else None
