"""A worker's side of rate limits.

A proxy with one worker counts by itself. With several the supervisor counts: a worker borrows tokens, a few at a time, and spends them
without asking; only a request that finds none waits for the answer, a fraction of a millisecond. What was not spent in time is forgotten, so
all workers together never admit more than the limit. While the supervisor does not answer, a worker counts its own share.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from policies.limits import RateLimit, Taken, TokenBucket
from runtime.ipc import Borrow, Lent

if TYPE_CHECKING:
    from runtime.plane import Plane
    from snapshot.limiting import Key

MAX_LIMITS = 4096
"""Limits that are remembered, those of past generations among them; a limit that returns in time finds its buckets as they were."""

Kept = TypeVar("Kept")
Then = Callable[[Taken], None]
Borrowing = Callable[[Borrow], Awaitable[Lent | None]]


class Lease:
    """What was borrowed for one key. Owns the tokens, who waits for more, and the bucket that counts while nobody lends."""

    __slots__ = ("alone", "refused_until", "remaining", "tokens", "until", "waiting")

    def __init__(self) -> None:
        self.tokens = 0
        self.until = 0.0
        self.refused_until = 0.0
        self.remaining = 0
        self.waiting: list[Then] = []
        self.alone: TokenBucket | None = None

    def spend(self, now: float) -> Taken | None:
        """Takes a borrowed token, or refuses where the lender has said that there is none; None where it must be asked."""
        if self.tokens and now < self.until:
            self.tokens -= 1
            left = self.tokens + self.remaining
            return Taken(
                allowed=True, remaining=left, reset_s=0 if left else math.ceil(max(self.refused_until - now, 0))
            )
        if now < self.refused_until:
            return Taken(allowed=False, remaining=0, reset_s=math.ceil(self.refused_until - now))
        return None


class Limiter:
    """Owns the buckets (or leases) of one worker by limit and key. ``borrow`` is set where other workers share the limits."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._buckets: OrderedDict[RateLimit, OrderedDict[Key, TokenBucket]] = OrderedDict()
        self._leases: OrderedDict[RateLimit, OrderedDict[Key, Lease]] = OrderedDict()
        self.borrow: Borrowing | None = None
        self.workers = 1

    def take(self, limit: RateLimit, key: Key, then: Then) -> None:
        """Takes a token and says how that went: at once where this worker knows, else when the lender has answered."""
        now = self._plane.lane.now
        if self.borrow is None:
            bucket = _kept(self._buckets, limit, key, lambda: TokenBucket(limit.burst, limit.rate, now))
            then(bucket.take(now))
            return
        lease = _kept(self._leases, limit, key, Lease)
        taken = lease.spend(now) if not lease.waiting else None
        if taken is not None:
            then(taken)
            return
        lease.waiting.append(then)
        if len(lease.waiting) == 1:
            self._ask(limit, key, lease)

    def _ask(self, limit: RateLimit, key: Key, lease: Lease) -> None:
        borrow = self.borrow
        assert borrow is not None

        async def wait() -> Callable[[], None]:
            lent = await borrow(Borrow(0, limit, key, len(lease.waiting)))
            return lambda: self._lent(limit, key, lease, lent)

        self._plane.park(wait)

    def _lent(self, limit: RateLimit, key: Key, lease: Lease, lent: Lent | None) -> None:
        now = self._plane.lane.now
        waiting, lease.waiting = lease.waiting, []
        if lent is None:
            alone = lease.alone
            if alone is None:
                share = max(1, limit.burst // self.workers)
                alone = lease.alone = TokenBucket(share, limit.rate / self.workers, now)
            for then in waiting:
                then(alone.take(now))
            return
        lease.tokens, lease.remaining, lease.until = lent.tokens, lent.remaining, now + lent.valid_s
        lease.refused_until = now + lent.wait_s if not lent.remaining else 0.0
        for place, then in enumerate(waiting):
            taken = lease.spend(now)
            if taken is None:
                lease.waiting = [*waiting[place:], *lease.waiting]
                self._ask(limit, key, lease)
                return
            then(taken)


def _kept(
    tables: OrderedDict[RateLimit, OrderedDict[Key, Kept]], limit: RateLimit, key: Key, make: Callable[[], Kept]
) -> Kept:
    """What is kept for a limit's key, made where it is not there; what was used longest ago makes room."""
    table = tables.get(limit)
    if table is None:
        table = tables[limit] = OrderedDict()
        if len(tables) > MAX_LIMITS:
            tables.popitem(last=False)
    found = table.get(key)
    if found is None:
        found = table[key] = make()
        if len(table) > limit.max_keys:
            table.popitem(last=False)
    elif limit.by:
        table.move_to_end(key)
    return found
