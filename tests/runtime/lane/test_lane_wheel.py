"""The wheel by a table of moments; no clock."""

from __future__ import annotations

import pytest

from runtime.lane.wheel import NEVER, TICK_S, Timer, Wheel


def fired(wheel: Wheel, now: float) -> list[Timer]:
    return wheel.turn(now)


def test_a_timer_fires_once_and_not_before_it_is_due() -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    wheel.set(timer, 100.0, 0.5)
    assert fired(wheel, 100.4) == []
    assert fired(wheel, 100.5 + TICK_S) == [timer]
    assert fired(wheel, 1000.0) == []
    assert timer.due == NEVER


def test_moving_a_timer_later_needs_no_call_and_holds() -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    wheel.set(timer, 100.0, 0.5)
    timer.due = 103.0
    assert fired(wheel, 101.0) == []
    assert fired(wheel, 103.0 + TICK_S) == [timer]


def test_moving_a_timer_earlier_fires_it_once() -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    wheel.set(timer, 100.0, 3600.0)
    wheel.set(timer, 100.0, 1.0)
    assert fired(wheel, 101.0 + TICK_S) == [timer]
    assert fired(wheel, 4000.0) == []


def test_a_cancelled_timer_does_not_fire_and_may_be_set_again() -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    wheel.set(timer, 100.0, 1.0)
    timer.cancel()
    assert fired(wheel, 102.0) == []
    wheel.set(timer, 102.0, 1.0)
    assert fired(wheel, 103.0 + TICK_S) == [timer]


@pytest.mark.parametrize(("after_s", "late_s"), [(0.001, TICK_S), (5.0, TICK_S), (60.0, 1.0), (3600.0, 1.0)])
def test_a_timer_is_late_by_a_tick_at_most_or_by_a_second_where_it_is_far_away(after_s: float, late_s: float) -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    wheel.set(timer, 7.003, after_s)
    assert fired(wheel, 7.003 + after_s - 0.0005) == []
    assert fired(wheel, 7.003 + after_s + late_s + 1e-6) == [timer]


@pytest.mark.parametrize("after_s", [5.0, 3600.0])
def test_a_timer_that_is_set_for_every_request_stands_in_the_wheel_once(after_s: float) -> None:
    wheel, timer = Wheel(), Timer(lambda: None)
    for request in range(100):
        wheel.set(timer, 100.0 + request / 1_000_000, after_s)
    assert sum(len(timers) for timers in wheel._slots.values()) == 1  # what it must not keep is seen nowhere else
