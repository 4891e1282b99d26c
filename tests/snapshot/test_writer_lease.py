"""The lease on a record that anybody can overwrite, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from snapshot.store import Conflict
from snapshot.writer_lease import LeaseRecord, Pace, WriterLease

PACE = Pace(lease_s=30, margin_s=10, confirm_s=2, poll_s=1)


class World:
    """The record, a clock that sleeping turns, and what happens at which write."""

    def __init__(self) -> None:
        self.now = 0.0
        self.record = LeaseRecord()
        self.write_takes_s = 0.0
        self.during_sleep: Callable[[], None] = lambda: None

    def read(self) -> LeaseRecord:
        return self.record

    def write(self, record: LeaseRecord) -> None:
        self.now += self.write_takes_s
        self.record = record

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during_sleep()

    def lease(self) -> WriterLease:
        return WriterLease(self, pace=PACE, clock=lambda: self.now, sleep=self.sleep)


def test_a_free_lease_is_taken_confirmed_and_given_back() -> None:
    world = World()
    lease = world.lease()
    lease.require()
    assert world.now == PACE.confirm_s
    assert world.record.holder
    lease.require()
    assert world.now == PACE.confirm_s, "what is held is not confirmed again"
    lease.release()
    assert world.record == LeaseRecord()


def test_a_claim_that_another_overwrote_is_not_believed() -> None:
    world = World()
    theirs = LeaseRecord("them", "1")

    def overwrite() -> None:
        world.record = theirs
        world.during_sleep = lambda: None

    world.during_sleep = overwrite
    lease = world.lease()
    lease.require()
    assert world.now > PACE.lease_s, "the other was waited for until it was surely dead"
    assert world.record != theirs


def test_a_live_holder_is_never_overtaken() -> None:
    world = World()
    beats = iter(range(1_000))
    world.record = LeaseRecord("them", "first")

    def beat() -> None:
        world.record = LeaseRecord("them", str(next(beats)))

    world.during_sleep = beat
    with pytest.raises(Conflict, match="another publisher"):
        world.lease().require()
    assert world.record.holder == "them"


def test_a_dead_holder_is_overtaken_after_a_whole_lease_on_our_own_clock() -> None:
    world = World()
    world.record = LeaseRecord("them", "last")
    world.lease().require()
    assert world.record.holder != "them"
    assert PACE.lease_s < world.now <= PACE.lease_s + PACE.confirm_s + 2 * PACE.poll_s


def test_a_claim_that_took_too_long_is_not_used_until_it_has_run_out() -> None:
    world = World()
    world.write_takes_s = 1.9

    def quicken() -> None:
        world.write_takes_s = 0.0

    world.during_sleep = quicken
    world.lease().require()
    assert world.now > PACE.lease_s


def test_a_holder_that_was_overtaken_or_too_slow_may_not_write() -> None:
    world = World()
    lease = world.lease()
    lease.require()
    world.record = LeaseRecord("them", "1")
    with pytest.raises(Conflict, match="lost its lease"):
        lease.require()
    world = World()
    lease = world.lease()
    lease.require()
    world.now += PACE.lease_s - PACE.margin_s
    with pytest.raises(Conflict, match="lost its lease"):
        lease.require()


def test_work_that_goes_on_keeps_the_lease() -> None:
    world = World()
    lease = world.lease()
    for _ in range(20):
        lease.require()
        world.now += 10
    assert world.now > 5 * PACE.lease_s


def test_what_another_holds_is_not_given_back() -> None:
    world = World()
    lease = world.lease()
    lease.require()
    world.record = theirs = LeaseRecord("them", "1")
    lease.release()
    assert world.record == theirs
