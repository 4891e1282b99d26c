"""The supervisor's side of rate limits: the buckets of the whole proxy, lent out to its workers in small pieces. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict

from policies.limits import RateLimit, TokenBucket
from runtime.ipc import Borrow, Lent

PIECE_S = 0.05
"""A worker gets at most what the limit gains in this time, beyond what it needs at once: what it does not spend is lost to the others."""

VALID_S = 0.25
MAX_BUCKETS = 100_000


class Lender:
    """Owns the buckets by limit and key; those not asked about for longest make room."""

    def __init__(self, *, workers: int) -> None:
        self._workers = workers
        self._buckets: OrderedDict[tuple[RateLimit, tuple[str, ...]], TokenBucket] = OrderedDict()

    def lend(self, asked: Borrow, now: float) -> Lent:
        """Tokens for one worker: what it needs, and a little in advance where there are many. ``now`` is any clock that does not go back."""
        limit = asked.limit
        place = (limit, asked.key)
        bucket = self._buckets.get(place)
        if bucket is None:
            bucket = self._buckets[place] = TokenBucket(limit.burst, limit.rate, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(place)
        bucket.take_up_to(0, now)
        advance = min(bucket.remaining // (2 * self._workers), int(limit.rate * PIECE_S))
        tokens = bucket.take_up_to(max(asked.wanted, advance), now)
        return Lent(asked.number, tokens, bucket.remaining, bucket.wait_s, VALID_S)
