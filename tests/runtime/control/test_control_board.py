"""Versions, waiters and leases, under a clock of our own."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from runtime.control.board import Board
from runtime.control.leases import Leases
from runtime.control.refusal import Refused
from snapshot.live import RegisteredWorkload

KEY = ("shop", "reviews-1", "127.0.0.3")
REVIEWS = "spiffe://shop.test/ns/shop/sa/reviews"


def workload(name: str = "reviews-1", address: str = "127.0.0.3", identity: str = REVIEWS) -> RegisteredWorkload:
    return RegisteredWorkload("shop", name, address, (("app", "reviews"),), identity)


async def test_one_change_wakes_every_waiter(autojump_clock: trio.testing.MockClock) -> None:
    board = Board(7)
    woken = []

    async def wait() -> None:
        assert await board.wait_other(7, wait_s=30)
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        board.advance()
    assert woken == [started] * 200


async def test_a_waiter_without_news_is_told_so_when_its_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    assert not await Board(7).wait_other(7, wait_s=30)
    assert trio.current_time() - started == pytest.approx(30)


@pytest.mark.parametrize("known", [6, 8, 0])
async def test_a_client_with_any_other_version_is_answered_at_once(known: int) -> None:
    assert await Board(7).wait_other(known, wait_s=0)


def test_a_refreshed_lease_is_no_change_and_lasts_longer() -> None:
    leases = Leases(lease_s=15)
    assert leases.register(workload(), 0)
    assert not leases.register(workload(), 10)
    assert leases.expire(24) == []
    assert leases.expire(25) == [KEY]
    assert leases.registry(1).workloads == ()


def test_replicas_of_one_workload_stand_beside_each_other_and_leave_one_by_one() -> None:
    leases = Leases(lease_s=15)
    leases.register(workload(), 0)
    assert leases.register(workload(address="127.0.0.4"), 1)
    assert leases.registry(2).workloads == (workload(), workload(address="127.0.0.4"))
    leases.withdraw("shop", "reviews-1", "127.0.0.3", REVIEWS)
    assert leases.registry(3).workloads == (workload(address="127.0.0.4"),)


def test_a_workload_that_serves_other_ports_is_a_change() -> None:
    leases = Leases(lease_s=15)
    leases.register(workload(), 0)
    assert leases.register(msgspec.structs.replace(workload(), ports=(("http", 8080),)), 1)


def test_the_next_end_is_never_later_than_the_end_of_a_lease_that_begins_now() -> None:
    leases = Leases(lease_s=15)
    assert leases.next_end(100) == 115
    leases.register(workload(), 90)
    assert leases.next_end(100) == 105


def test_a_name_belongs_to_the_identity_that_took_it_until_it_lets_go() -> None:
    leases = Leases(lease_s=15)
    leases.register(workload(), 0)
    other = workload(identity="spiffe://shop.test/ns/shop/sa/ratings")
    with pytest.raises(Refused, match="registered by"):
        leases.register(other, 1)
    with pytest.raises(Refused, match="registered by"):
        leases.withdraw("shop", "reviews-1", "", other.identity)
    assert leases.withdraw("shop", "reviews-1", "", REVIEWS) == [KEY]
    assert leases.withdraw("shop", "reviews-1", "", REVIEWS) == []
    assert leases.register(other, 2)


def test_registrations_from_before_a_restart_get_one_lease() -> None:
    leases = Leases(lease_s=15)
    leases.restore([workload()], 100)
    assert leases.expire(114) == []
    assert leases.expire(115) == [KEY]
