"""Rate limits: what is counted, and the token bucket that counts. The bucket is a plain object; time is an argument.

A bucket holds ``burst`` tokens at most and gains ``requests`` per ``interval_ms``, a little at every moment (not all at the interval's end). A
request takes one token or is refused. The limit holds for a whole proxy, whatever the number of its workers.
"""

from __future__ import annotations

import math

import msgspec

from policies.match import RouteMatch, StringMatch
from policies.source import SourceRef


class LimitKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """What tells two clients apart: ``identity`` (the SPIFFE ID), ``header`` (``name`` in lower case; the first value), ``source`` (the
    client's address), ``method`` or ``path`` (without the query)."""

    on: str
    name: str = ""


class RateLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One limit. Only requests that ``match`` (path, method, headers) and come from ``identity`` count; ``by`` gives each client a bucket
    of its own, and a request that lacks one of those values is not counted.

    A refused request is answered ``status`` with ``retry-after``; ``headers`` says that every reply tells limit, remaining and reset.
    Of more clients than ``max_keys`` those that were silent longest are forgotten.
    """

    source: SourceRef
    requests: int
    interval_ms: int
    burst: int
    match: RouteMatch = RouteMatch()
    identity: StringMatch | None = None
    by: tuple[LimitKey, ...] = ()
    status: int = 429
    headers: bool = False
    max_keys: int = 10_000

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.requests * 1000 / self.interval_ms

    @property
    def retry_after_s(self) -> int:
        """How long a refused client should wait: by then there is a new token, at the latest."""
        return max(1, math.ceil(1 / self.rate))

    @property
    def order(self) -> tuple[float, SourceRef]:
        """In which order limits of one route are asked: the slowest first, so that it is not spent by requests that another refuses."""
        return self.rate, self.source


class Taken(msgspec.Struct, frozen=True, gc=False):
    """How taking a token went: how many whole tokens are left, and in how many seconds there is one again (0 where there is one)."""

    allowed: bool
    remaining: int
    reset_s: int


class TokenBucket:
    """One bucket, full at first. Owns its level; ``now`` is in seconds of any clock that does not go back."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self.burst = burst
        self.rate = rate
        self._level = float(burst)
        self._at = now

    def take(self, now: float) -> Taken:
        """Takes one token where there is a whole one."""
        return Taken(bool(self.take_up_to(1, now)), self.remaining, self.reset_s)

    def take_up_to(self, wanted: int, now: float) -> int:
        """Takes as many whole tokens as there are, at most ``wanted``; says how many."""
        self._level = min(self.burst, self._level + max(now - self._at, 0.0) * self.rate)
        self._at = max(now, self._at)
        taken = min(wanted, int(self._level))
        self._level -= taken
        return taken

    @property
    def remaining(self) -> int:
        """The whole tokens at the last taking."""
        return int(self._level)

    @property
    def wait_s(self) -> float:
        """How long until there is a whole token, counted from the last taking."""
        return 0.0 if self._level >= 1 else (1 - self._level) / self.rate

    @property
    def reset_s(self) -> int:
        """``wait_s`` in whole seconds, rounded up."""
        return math.ceil(self.wait_s)
