"""An ended timer: never called, and no longer a holder of its owner."""

from __future__ import annotations

import weakref

from runtime.lane.wheel import Timer, Wheel


class Owner:
    def __init__(self) -> None:
        self.fired = 0
        self.timer = Timer(self.fire)

    def fire(self) -> None:
        self.fired += 1


def test_an_ended_timer_lets_go_of_its_owner_long_before_its_slot_comes() -> None:
    wheel, owner = Wheel(), Owner()
    wheel.set(owner.timer, 0.0, 3600.0)
    gone = weakref.ref(owner)
    owner.timer.end()
    del owner
    assert gone() is None
    assert wheel.turn(4000.0) == []


def test_setting_an_ended_timer_again_calls_nobody() -> None:
    wheel, owner = Wheel(), Owner()
    owner.timer.end()
    wheel.set(owner.timer, 0.0, 1.0)
    for timer in wheel.turn(10.0):
        timer.on_due()
    assert owner.fired == 0
