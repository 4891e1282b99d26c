"""Deadlines for thousands of connections at the price of an attribute.

Nearly every deadline is moved before it is due, so moving one later touches no structure: a Timer stands in the slot of some past
promise, and when that slot comes it is asked for its real ``due`` and put back. Slots are TICK_S wide, whole seconds for what is far away,
so that idle connections wake the worker once a second and not once each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio

TICK_S = 0.01
FAR_TICK_S = 1.0
FAR_S = 10.0
NEVER = math.inf


def slack(after_s: float) -> float:
    """How late a timer set for so far away may be: the width of its slot. A slot that is no later than this need not be left."""
    return FAR_TICK_S if after_s > FAR_S else TICK_S


class Timer:
    """One deadline. Owns its ``due`` (seconds on Trio's clock; NEVER is off); ``on_due`` is called once, after which ``due`` is NEVER.

    ``slot`` is the wheel's mark: when it will look at the timer next. Moving ``due`` to a time that is not before it needs no call.
    """

    __slots__ = ("due", "on_due", "slot")

    def __init__(self, on_due: Callable[[], None]) -> None:
        self.due = NEVER
        self.on_due = on_due
        self.slot = NEVER

    def cancel(self) -> None:
        """The timer will not fire, unless it is set again."""
        self.due = NEVER

    def end(self) -> None:
        """The timer will never fire again. Lets go of its owner, which would else live until the slot comes, perhaps in an hour."""
        self.due = NEVER
        self.on_due = _nothing


def _nothing() -> None:
    """What an ended timer does."""


class Wheel:
    """All timers of a lane. Owns the slots; ``run`` is the task that turns it."""

    __slots__ = ("_order", "_scope", "_slots")

    def __init__(self) -> None:
        self._slots: dict[float, list[Timer]] = {}
        self._order: list[float] = []
        self._scope: trio.CancelScope | None = None

    def set(self, timer: Timer, now: float, after_s: float) -> None:
        """The timer will fire ``after_s`` from ``now``, at the earliest; up to a tick later (a second where it is far away)."""
        due = now + after_s
        timer.due = due
        if timer.slot > due + slack(after_s):
            self._place(timer, due, after_s)

    def _place(self, timer: Timer, due: float, after_s: float) -> None:
        width = slack(after_s)
        slot = math.ceil(due / width) * width
        timer.slot = slot
        timers = self._slots.get(slot)
        if timers is not None:
            timers.append(timer)
            return
        self._slots[slot] = [timer]
        heapq.heappush(self._order, slot)
        if self._scope is not None and slot < self._scope.deadline:
            self._scope.deadline = slot

    def turn(self, now: float) -> list[Timer]:
        """Takes out the timers that are due; those whose due has moved go to a later slot."""
        due: list[Timer] = []
        while self._order and self._order[0] <= now:
            slot = heapq.heappop(self._order)
            for timer in self._slots.pop(slot):
                if timer.slot != slot:  # It was moved earlier meanwhile.
                    continue
                timer.slot = NEVER
                if timer.due <= now:
                    timer.due = NEVER
                    due.append(timer)
                elif timer.due != NEVER:
                    self._place(timer, timer.due, timer.due - now)
        return due

    async def run(self, fire: Callable[[Timer, float], None]) -> None:
        """Turns the wheel until cancelled; ``fire`` is the lane's supervision around one timer."""
        while True:
            with trio.CancelScope(deadline=self._order[0] if self._order else NEVER) as self._scope:
                await trio.sleep_forever()
            now = trio.current_time()
            for timer in self.turn(now):
                fire(timer, now)
