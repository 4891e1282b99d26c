"""Which endpoints take what share of a cluster's requests now: Envoy's priorities, panic and localities, as arithmetic on healthy counts.

A level (Envoy's priority) takes all that its healthy share times 1.4 can carry; the rest goes to the next one. Inside a level each part (a
locality) takes its weight, less where less of it is healthy. Where too little is healthy, all endpoints are used (panic).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from runtime.balance.zones import Zones, parted
from snapshot.section import Endpoint

OVERPROVISIONING = 140
"""Percent: a level with 72 of 100 endpoints healthy still carries all of its requests (Envoy)."""
_ALL = 100


class Part(NamedTuple):
    """The endpoints of one locality, and its weight against the others of its level."""

    weight: float
    endpoints: tuple[Endpoint, ...]


Level = tuple[Part, ...]


class Share(NamedTuple):
    """Endpoints that are equally good, and their share of the requests of all; ``level`` is where they stand."""

    share: float
    endpoints: tuple[Endpoint, ...]
    level: int = 0


def shares(
    levels: Sequence[Level], is_up: Callable[[Endpoint], bool], panic_percent: int, zones: Zones | None = None
) -> tuple[Share, ...]:
    """The shares, which together are 1; none where nothing is healthy and there is no panic. With ``zones`` the nearest level keeps to its zone
    as far as that goes, and no locality has a weight."""
    found: list[Share] = []
    for number, (load, panicking) in enumerate(loads(levels, is_up, panic_percent)):
        if not load:
            continue
        if panicking:
            everyone = tuple(endpoint for part in levels[number] for endpoint in part.endpoints)
            found.append(Share(load / _ALL, everyone, number))
            continue
        if zones is not None:
            healthy_by_locality = [tuple(filter(is_up, part.endpoints)) for part in levels[number]]
            nearest = zones if number == 0 else zones._replace(fellows={})
            found += [Share(load / _ALL * part, up, number) for part, up in parted(healthy_by_locality, nearest)]
            continue
        parts = [
            (weight, healthy)
            for part in levels[number]
            if (healthy := tuple(filter(is_up, part.endpoints)))
            and (weight := part.weight * _available(len(healthy), len(part.endpoints)))
        ]
        total = sum(weight for weight, _ in parts)
        found += [Share(load / _ALL * weight / total, healthy, number) for weight, healthy in parts]
    return tuple(found)


def loads(levels: Sequence[Level], is_up: Callable[[Endpoint], bool], panic_percent: int) -> list[tuple[int, bool]]:
    """For each level the percent of requests that it takes, and whether it is in panic."""
    counts = [sum(len(part.endpoints) for part in level) for level in levels]
    healthy = [sum(is_up(endpoint) for part in level for endpoint in part.endpoints) for level in levels]
    health = [
        min(_ALL, OVERPROVISIONING * up // count) if count else 0 for up, count in zip(healthy, counts, strict=True)
    ]
    total = min(_ALL, sum(health))
    panics = [
        total < _ALL and (100 * up / count if count else 0) < panic_percent
        for up, count in zip(healthy, counts, strict=True)
    ]
    if panics and all(panics):
        return [(load, True) for load in _proportional(counts)]
    return list(zip(_carried(health, total), panics, strict=True))


def _carried(health: list[int], total: int) -> list[int]:
    """As much as each level can carry, the first first; what rounding leaves goes to the first that is healthy at all."""
    if not total:
        return [0] * len(health)
    left, taken = _ALL, []
    for one in health:
        load = min(left, one * _ALL // total)
        taken.append(load)
        left -= load
    taken[next(place for place, one in enumerate(health) if one)] += left
    return taken


def _proportional(counts: list[int]) -> list[int]:
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    taken = [_ALL * count // total for count in counts]
    taken[next(place for place, count in enumerate(counts) if count)] += _ALL - sum(taken)
    return taken


def _available(healthy: int, count: int) -> float:
    return min(1.0, OVERPROVISIONING / _ALL * healthy / count)
