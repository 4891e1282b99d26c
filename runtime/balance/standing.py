"""Where a proxy and those like it stand: what zone aware routing asks of the registry, for both engines."""

from __future__ import annotations

from collections import Counter

from policies.balancing import LocalityLoad
from runtime.balance.zones import Zones
from runtime.endpoints import LiveData

_HASHED = frozenset({"ring_hash", "maglev"})


def fellows_of(live: LiveData, own: tuple[str, str]) -> dict[str, int]:
    """How many registered workloads of this namespace and name stand in each locality of the proxy's own region, itself among them.

    A proxy that does not register, because it serves nothing, has none; then nothing keeps to zones (Istio's self discovery is the same).
    """
    namespace, name = own
    region = live.bootstrap.standpoint.partition("/")[0]
    if not region:
        return {}
    here = (one.locality for one in live.workloads.get(namespace, ()) if one.name == name)
    return dict(Counter(locality for locality in here if locality.partition("/")[0] == region))


def zones_of(load: LocalityLoad, live: LiveData, own: tuple[str, str], *, balance: str) -> Zones | None:
    """What keeps a cluster's requests to their zone; a hashed key goes where it hashes. None where that is not asked for."""
    if not load.zone_minimum:
        return None
    fellows = {} if balance in _HASHED else fellows_of(live, own)
    return Zones(live.bootstrap.standpoint, fellows, load.zone_minimum)
