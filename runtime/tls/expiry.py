"""No connection outlives the certificate that its client showed: at its end the client is asked to leave, and later made to.

Certificates are checked when a connection opens, and a kept-alive connection may be older than any policy about them. What is looked at is
only the soonest end of all, so that looking costs nothing until one has come. Times are those of the wall clock, as in certificates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

NEVER = math.inf


class Shown(Protocol):
    """A connection that knows until when its client's certificate is good."""

    @property
    def certified_until(self) -> float:
        """Seconds since 1970, NEVER without a certificate."""


Connection = TypeVar("Connection", bound=Shown)


class CertificateEnds(Generic[Connection]):
    """Owns who has been asked to leave, and when each is cut off if it has not."""

    def __init__(self) -> None:
        self.soonest = NEVER
        self._asked: dict[Connection, float] = {}

    def expect(self, certified_until: float) -> None:
        """A connection has opened under a certificate that ends then."""
        self.soonest = min(self.soonest, certified_until)

    def due(
        self, connections: Iterable[Connection], now: float, grace_s: float
    ) -> tuple[list[Connection], list[Connection]]:
        """Whom to ask to leave now, and whom to cut off: those that were asked ``grace_s`` ago and are still among ``connections``."""
        if now < self.soonest and not self._asked:
            return [], []
        open_now = set(connections)
        self._asked = {one: until for one, until in self._asked.items() if one in open_now}
        late = [one for one, until in self._asked.items() if until <= now]
        leaving = [one for one in open_now if one.certified_until <= now and one not in self._asked]
        self._asked |= dict.fromkeys(leaving, now + grace_s)
        self.soonest = min((one.certified_until for one in open_now if one.certified_until > now), default=NEVER)
        return leaving, late
