"""Tables from keys to endpoints: a ring (ketama) and Maglev's, both as Envoy builds them, so that both engines choose alike.

A ring moves few keys when an endpoint leaves only if the others keep their points. So its size is so many points for each endpoint
(``ring_size``), told to Envoy as its minimum, and not one size divided between them: that would move the points of all others.

Building takes milliseconds, so it is a generator that gives way every few hundred steps. Built tables never change.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import NamedTuple

from snapshot.section import ConsistentHash, Endpoint
from snapshot.xxhash import xxh64

POINTS = 512
"""Points of the heaviest endpoint; its share of the keys then errs by a twentieth of itself."""
MAX_POINTS = 2048
"""The most that a large ``minimum_ring_size`` gives; more would only make the ring slower to build."""
MAX_RING = 16_384
"""Points of a whole ring. Beyond 32 endpoints each has fewer."""
_KEYS = 1 << 64
_PARTS = 16
"""A ring is sorted in so many parts: at once, sixteen thousand points would take three milliseconds."""
_PIECE = 256
"""Points, or places of a table, between two pauses: about half a millisecond."""

Weighted = tuple[Endpoint, float]
"""An endpoint and its share of the keys; the shares of a table are together 1."""


class Ring:
    """Endpoints by the keys that they own: those that fall between the point before theirs and theirs."""

    __slots__ = ("__weakref__", "_owners", "_places")

    def __init__(self, places: Sequence[float], owners: Sequence[Endpoint]) -> None:
        self._places = places
        self._owners = owners

    def owner(self, place: int) -> Endpoint | None:
        """The endpoint that owns a place; None where there are no endpoints."""
        owners = self._owners
        if not owners:
            return None
        return owners[bisect_left(self._places, float(place)) % len(owners)]


class Maglev:
    """A table whose every place has an endpoint; a key falls on its digest modulo the table's size."""

    __slots__ = ("__weakref__", "_endpoints", "_table")

    def __init__(self, endpoints: Sequence[Endpoint], table: Sequence[int]) -> None:
        self._endpoints = endpoints
        self._table = table

    def owner(self, place: int) -> Endpoint | None:
        """The endpoint that owns a place; None where there are no endpoints."""
        return self._endpoints[self._table[place % len(self._table)]] if self._endpoints else None


Table = Ring | Maglev


class Leveled:
    """A table for each level of endpoints that takes requests: the key's place says which level, too (Envoy)."""

    __slots__ = ("_bounds", "_tables")

    def __init__(self, bounds: Sequence[int], tables: Sequence[Table]) -> None:
        self._bounds = bounds
        self._tables = tables

    @classmethod
    def of(cls, loads: Sequence[tuple[float, Table]]) -> Leveled:
        """From the levels' loads, which together are 1."""
        bounds: list[int] = []
        for load, _ in loads:
            bounds.append((bounds[-1] if bounds else 0) + round(load * 100))
        return cls(bounds, [table for _, table in loads])

    def owner(self, place: int) -> Endpoint | None:
        """The endpoint that owns a place; None where no level takes requests."""
        if not self._tables:
            return None
        number = bisect_left(self._bounds, place % 100 + 1)
        return self._tables[min(number, len(self._tables) - 1)].owner(place)


def evenly(endpoints: Sequence[Endpoint]) -> list[Weighted]:
    """Endpoints with the shares that their weights give them."""
    total = sum(endpoint.weight for endpoint in endpoints)
    return [(endpoint, endpoint.weight / total) for endpoint in endpoints]


def table_of(balance: str, hashing: ConsistentHash, endpoints: Sequence[Weighted]) -> Generator[None, None, Table]:
    """The table of a cluster whose balance is ``ring_hash`` or ``maglev``."""
    if balance == "maglev":
        return maglev_steps(endpoints, hashing.table_size)
    return ring_steps(endpoints, ring_size(hashing, [share for _, share in endpoints]))


def built(steps: Generator[None, None, Table]) -> Table:
    """A table in one go, for those who may pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            table: Table = done.value
            return table


def ring_size(hashing: ConsistentHash, shares: Sequence[float]) -> int:
    """How many points a ring has at least, from the shares of its endpoints."""
    if not shares:
        return hashing.minimum_ring_size
    most = max(POINTS, min(-(-hashing.minimum_ring_size // 2), MAX_POINTS))
    most = max(1, min(most, MAX_RING // len(shares)))
    return max(1, round(most / max(shares)))


def ring_steps(endpoints: Sequence[Weighted], size: int) -> Generator[None, None, Ring]:
    """Builds a ring of at least ``size`` points."""
    parts: list[dict[float, Endpoint]] = [{} for _ in range(_PARTS)]
    least = min((share for _, share in endpoints), default=1.0)
    scale = math.ceil(least * size) / least
    made, target, since = 0, 0.0, 0
    for endpoint, share in endpoints:
        target += scale * share
        count = max(math.ceil(target) - made, 0)
        made += count
        for first in range(0, count, _PIECE):
            points = _points(host_key(endpoint), first, min(first + _PIECE, count))
            for point in points:
                parts[int(point * _PARTS / _KEYS) % _PARTS][point] = endpoint
            since += len(points)
            if since >= _PIECE:
                since = 0
                yield
    places: list[float] = []
    owners: list[Endpoint] = []
    for part in parts:
        places += (ordered := sorted(part))
        owners += [part[place] for place in ordered]
        yield
    return Ring(places, owners)


@lru_cache(maxsize=1024)
def _points(key: bytes, first: int, end: int) -> tuple[float, ...]:
    """Some of an endpoint's points. Floats, which sort five times faster; what they round away is a millionth of a point's keys."""
    return tuple(float(xxh64(b"%s_%d" % (key, number))) for number in range(first, end))


def host_key(endpoint: Endpoint) -> bytes:
    """What is hashed of an endpoint."""
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}".encode()


class _Claim(NamedTuple):
    """An endpoint's order of preference over the places of Maglev's table: ``offset``, then every ``skip`` places."""

    offset: int
    skip: int
    share: float


def maglev_steps(endpoints: Sequence[Weighted], size: int) -> Generator[None, None, Maglev]:
    """Builds Maglev's table: endpoints take the next free place that they prefer, in turn, the lighter ones not in every round."""
    ordered = sorted(endpoints, key=lambda one: host_key(one[0]))
    claims = [_claim(endpoint, share, size) for endpoint, share in ordered]
    table = array("l", [-1]) * size
    heaviest = max((claim.share for claim in claims), default=1.0)
    places = [claim.offset for claim in claims]
    targets = [0.0] * len(claims)
    filled, turn, work = 0, 0, 0.0
    while claims and filled < size:
        turn += 1
        for number, (_, skip, share) in enumerate(claims):
            if turn * share < targets[number]:
                continue
            targets[number] += heaviest
            place = places[number]
            while table[place] >= 0:
                place = (place + skip) % size
            table[place] = number
            places[number] = (place + skip) % size
            filled += 1
            if filled == size:
                break
            # The fuller the table, the more places are tried for one that is free.
            work += size / (size - filled)
            if work >= _PIECE * 4:
                work = 0.0
                yield
    return Maglev([endpoint for endpoint, _ in ordered], table)


def _claim(endpoint: Endpoint, share: float, size: int) -> _Claim:
    key = host_key(endpoint)
    return _Claim(xxh64(key) % size, xxh64(key, 1) % (size - 1) + 1, share)
