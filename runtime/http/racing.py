"""Connecting to a host that has several addresses: the first to answer carries the request (happy eyeballs, RFC 8305).

Attempts start one after the other, each when the one before has failed or a quarter of a second has passed; families alternate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from runtime.lane.wheel import Timer

if TYPE_CHECKING:
    from runtime.http.pool import Pool, UpstreamConnection

STAGGER_S = 0.25
"""RFC 8305's recommended delay between two attempts."""


def interleaved(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses with their families in turn, beginning with that of the first."""
    sixes = [":" in address for address in addresses]
    first = [address for address, six in zip(addresses, sixes, strict=True) if six == sixes[0]]
    second = [address for address, six in zip(addresses, sixes, strict=True) if six != sixes[0]]
    return tuple(one for pair in zip_longest(first, second) for one in pair if one is not None)


class Race:
    """One race of a pool. Owns its timer and the connections that are under way."""

    __slots__ = ("_left", "_over", "_pool", "_running", "_timer")

    def __init__(self, pool: Pool, addresses: Sequence[str]) -> None:
        self._pool = pool
        self._left = list(interleaved(addresses))
        self._running: list[UpstreamConnection] = []
        self._over = False
        self._timer = Timer(self._next)

    def start(self) -> bool:
        """Sets out for the first address that can be set out for; False where there is none."""
        self._next()
        return bool(self._running)

    def _next(self) -> None:
        while self._left and not self._over:
            connection = self._pool.dial(self._left.pop(0), self)
            if connection is not None:
                self._running.append(connection)
                if self._left:
                    lane = self._pool.plane.lane
                    lane.wheel.set(self._timer, lane.now, STAGGER_S)
                return

    def won(self, winner: UpstreamConnection) -> None:
        """A connection is there: the others are not wanted any more."""
        self._over = True
        self._timer.end()
        for connection in self._running:
            if connection is not winner:
                connection.channel.lose(OSError("another address was faster"))
        self._running.clear()

    def failed(self, loser: UpstreamConnection) -> bool:
        """A connection is not to be had; True where that is not the end, because another has been, is or will be."""
        if self._over:
            return True
        if loser in self._running:
            self._running.remove(loser)
        if not self._running:
            self._next()
        return bool(self._running)
