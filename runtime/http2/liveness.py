"""Whether an upstream still answers: a PING now and then, and the end of a connection on which none comes back in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lane.wheel import Timer
from runtime.telemetry import Failure

if TYPE_CHECKING:
    from runtime.http2.upstream import Http2Upstream


class Liveness:
    """The PINGs of one connection. Owns their timer; ends with the connection."""

    __slots__ = ("_connection", "_every_s", "_timer", "_waits_for", "_within_s")

    def __init__(self, connection: Http2Upstream, *, every_s: float, within_s: float) -> None:
        self._connection = connection
        self._every_s = every_s
        self._within_s = within_s
        self._waits_for = 0
        self._timer = Timer(self._due)
        self._after(every_s)

    def _after(self, seconds: float) -> None:
        lane = self._connection.pool.plane.lane
        lane.wheel.set(self._timer, lane.now, seconds)

    def _due(self) -> None:
        connection = self._connection
        if connection.channel.closed:
            return
        codec = connection.codec
        if not self._waits_for:
            self._waits_for = codec.ping()
            connection.write()
            self._after(self._within_s)
        elif codec.pings_answered >= self._waits_for:
            self._waits_for = 0
            self._after(max(self._every_s - self._within_s, 0.01))
        else:
            connection.lose(Failure.UPSTREAM_CLOSED, "http2 ping timeout")
