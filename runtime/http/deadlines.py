"""The deadlines of one exchange, by name. Most exchanges have none, and never make this object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.lane.wheel import Timer

if TYPE_CHECKING:
    from runtime.lane.loop import Lane


class Deadlines:
    """Owns the timers of an exchange: ``parked`` (a fault's delay, a back-off), ``route`` and ``try``. At most one of each name runs."""

    __slots__ = ("_lane", "_timers")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._timers: dict[str, Timer] = {}

    def set(self, name: str, after_ms: int, on_due: Callable[[], None]) -> None:
        """``on_due`` is called once, ``after_ms`` from now, unless the name is set again or unset before."""
        self.unset(name)
        timer = self._timers[name] = Timer(on_due)
        self._lane.wheel.set(timer, self._lane.now, after_ms / 1000)

    def unset(self, name: str) -> None:
        """The named deadline, where there is one, will not come."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.end()

    def end(self) -> None:
        """The exchange is over: no deadline comes, and none keeps the exchange in memory until its slot of the wheel."""
        for timer in self._timers.values():
            timer.end()
        self._timers.clear()
