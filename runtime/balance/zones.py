"""How much of a level's requests stay in the proxy's own zone: Envoy's zone aware routing, as arithmetic on counts.

Each zone of clients may ask of its own zone as large a share of the endpoints as it is of the clients; then all endpoints are equally busy and as
little as possible crosses zones. A zone with too few endpoints for its clients sends what is left to zones that have more than they need, by how
much more, and so does one that has none. Zones are localities, compared whole. Pure; shares are in ten-thousandths, rounded down, as Envoy has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from snapshot.section import Endpoint

_ALL = 10_000


class Zones(NamedTuple):
    """Where a proxy stands, how many proxies of its kind stand in each locality of its region, and how many endpoints it takes to begin with."""

    own: str
    fellows: Mapping[str, int]
    minimum: int


def parted(healthy: Sequence[tuple[Endpoint, ...]], zones: Zones) -> list[tuple[float, tuple[Endpoint, ...]]]:
    """The parts of a level by locality, with their shares, which together are 1; as one part where zones cannot be told apart.

    ``healthy`` are the healthy endpoints of each locality that has any endpoint.
    """
    counts = {place: len(group) for place, group in enumerate(healthy)}
    total, clients = sum(counts.values()), sum(zones.fellows.values())
    # Nobody's locality is empty where there is nobody.
    named = [group[0].locality if group else "" for group in healthy]
    here = named.index(zones.own) if zones.own in named else -1
    if len(healthy) < 2 or total < zones.minimum or not clients:
        return [(1.0, tuple(endpoint for group in healthy for endpoint in group))] if total else []
    upstream = [_ALL * counts[place] // total for place in counts]
    local = [_ALL * zones.fellows.get(name, 0) // clients if name else 0 for name in named]
    stays = 0.0
    if here >= 0 and upstream[here]:
        if upstream[here] >= local[here]:
            return [(1.0, healthy[here])]
        stays = upstream[here] * _ALL // local[here] / _ALL
    room = [0 if place == here else max(upstream[place] - local[place], 0) for place in counts]
    left = sum(room)
    # Where nobody has room, rounding has taken it: then every locality is as good.
    leaves = [part / left if left else 1 / len(healthy) for part in room]
    found = [
        ((1 - stays) * part + (stays if place == here else 0), healthy[place]) for place, part in enumerate(leaves)
    ]
    return [(share, group) for share, group in found if share and group]
