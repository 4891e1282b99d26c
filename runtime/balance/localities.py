"""From a cluster's endpoints to levels, seen from where this proxy stands (Istio's locality load balancing).

A locality is ``region/zone/subzone``, each part but the first optional. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.balancing import LocalityLoad
from runtime.balance.shares import Level, Part
from snapshot.section import Endpoint

REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"
_PLACES = (REGION, ZONE, SUBZONE)
_OTHER_REGION, _NOT_THE_FAILOVER = 3, 4
_STEPS = 5


def levels_of(
    endpoints: Sequence[Endpoint], load: LocalityLoad | None, own: str, labels: Mapping[str, str]
) -> tuple[Level, ...]:
    """The levels, nearest first; ``own`` and ``labels`` are this proxy's locality and labels. One level where no locality is preferred."""
    if load is None:
        return ((Part(1, tuple(endpoints)),),) if endpoints else ()
    if load.distribute:
        return _distributed(_by_locality(endpoints), load, own)
    if not load.fails_over:
        return _leveled(dict.fromkeys(endpoints, 0))
    ranks = dict.fromkeys(endpoints, 0)
    if load.priority:
        own_labels = located(labels, own)
        ranks = {endpoint: _disagreement(endpoint, load.priority, own_labels) for endpoint in endpoints}
    if load.failover or not load.priority or load.zone_minimum:
        for endpoint in endpoints:
            distance = _distance(endpoint.locality, own, load)
            if load.zone_minimum and distance < _OTHER_REGION:
                distance = 0
            ranks[endpoint] = ranks[endpoint] * _STEPS + distance
    return _leveled(ranks)


def located(labels: Mapping[str, str], locality: str) -> dict[str, str]:
    """Labels, with those that a locality means where they are not there."""
    parts = zip(_PLACES, locality.split("/"), strict=False)
    return {**{name: part for name, part in parts if part}, **labels}


def matches(locality: str, rule: str) -> bool:
    """Whether a locality is what a rule names: a prefix of whole parts, ``*`` for any rest."""
    there = locality.split("/")
    for place, part in enumerate(rule.split("/")):
        if part == "*":
            return True
        if place >= len(there) or there[place] != part:
            return False
    return True


def _leveled(ranks: Mapping[Endpoint, int]) -> tuple[Level, ...]:
    """Endpoints of one rank are one level; ranks that nobody has are no levels."""
    by_rank: dict[int, list[Endpoint]] = {}
    for endpoint, rank in ranks.items():
        by_rank.setdefault(rank, []).append(endpoint)
    return tuple(tuple(_by_locality(by_rank[rank]).values()) for rank in sorted(by_rank))


def _by_locality(endpoints: Sequence[Endpoint]) -> dict[str, Part]:
    """A locality weighs what its endpoints do."""
    found: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        found.setdefault(endpoint.locality, []).append(endpoint)
    return {name: Part(sum(one.weight for one in group), tuple(group)) for name, group in found.items()}


def _distributed(parts: Mapping[str, Part], load: LocalityLoad, own: str) -> tuple[Level, ...]:
    """Shares as the rule for the own locality gives them; without one, all localities by their weight."""
    to = next((to for origin, to in load.distribute if matches(own, origin)), None)
    if to is None:
        return (tuple(parts.values()),) if parts else ()
    left, found = dict(parts), []
    for rule, share in to:
        named = [name for name in left if matches(name, rule)]
        total = sum(left[name].weight for name in named)
        found += [Part(share * left[name].weight / total, left[name].endpoints) for name in named]
        for name in named:
            del left[name]
    return (tuple(part for part in found if part.weight),)


def _distance(locality: str, own: str, load: LocalityLoad) -> int:
    """0 in the same subzone, 1 in the zone, 2 in the region, 3 elsewhere; 4 elsewhere where the failover names another region."""
    here, there = _parts(own), _parts(locality)
    same = next((place for place in range(len(_PLACES)) if here[place] != there[place]), len(_PLACES))
    if same:
        return len(_PLACES) - same
    target = next((to for origin, to in load.failover if origin == here[0]), None)
    return _OTHER_REGION if target is None or there[0] == target else _NOT_THE_FAILOVER


def _parts(locality: str) -> tuple[str, str, str]:
    region, zone, subzone, *_ = (*locality.split("/"), "", "", "")
    return region, zone, subzone


def _disagreement(endpoint: Endpoint, priority: Sequence[str], own: Mapping[str, str]) -> int:
    """How much of the list is left from the first label in which endpoint and proxy differ; 0 where they agree in all."""
    there = located(dict(endpoint.labels), endpoint.locality)
    for place, entry in enumerate(priority):
        name, given, value = entry.partition("=")
        if there.get(name, "") != (value if given else own.get(name, "")):
            return len(priority) - place
    return 0
