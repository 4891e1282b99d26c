"""One reading for all who ask at once, and never one from before a change."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from runtime.control.board import Board
from runtime.control.latest import MAX_AGE_S, MAX_HELD, Latest


class Counted:
    """A file that counts its readings, and holds one back while ``gate`` is closed."""

    def __init__(self) -> None:
        self.content = "one"
        self.readings = 0
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()

    def read(self) -> str:
        self.readings += 1
        content = self.content
        self.began.set()
        assert self.gate.wait(10)
        return content


async def test_all_who_ask_at_once_share_one_reading() -> None:
    file, latest, told = Counted(), Latest[str](Board()), []
    file.gate.clear()

    async def ask() -> None:
        told.append(await latest.get("a", file.read))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        file.gate.set()
    assert (told, file.readings) == (["one"] * 50, 1)


async def test_after_a_change_nobody_gets_what_was_read_before() -> None:
    board, file = Board(), Counted()
    latest = Latest[str](board)
    assert await latest.get("a", file.read) == "one"
    file.content = "two"
    assert await latest.get("a", file.read) == "one"
    board.advance()
    assert await latest.get("a", file.read) == "two"


async def test_a_reading_that_a_change_overtook_is_not_given_to_those_who_come_after_it() -> None:
    board, file, told = Board(), Counted(), []
    latest = Latest[str](board)
    file.gate.clear()

    async def ask() -> None:
        told.append(await latest.get("a", file.read))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        assert await trio.to_thread.run_sync(file.began.wait, 10)
        file.content = "two"
        board.advance()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        file.gate.set()
    assert sorted(told) == ["one", "two"]
    assert await latest.get("a", file.read) == "two"


async def test_what_no_change_announced_is_read_again_after_a_moment(autojump_clock: trio.testing.MockClock) -> None:
    file, latest = Counted(), Latest[str](Board())
    assert await latest.get("a", file.read) == "one"
    file.content = "two"
    await trio.sleep(MAX_AGE_S)
    assert await latest.get("a", file.read) == "two"


async def test_a_reading_that_fails_is_the_failure_of_one_caller() -> None:
    latest, told = Latest[str](Board()), []
    outcomes = [OSError("gone"), None]

    def read() -> str:
        problem = outcomes.pop(0)
        if problem:
            raise problem
        return "one"

    async def ask() -> None:
        try:
            told.append(await latest.get("a", read))
        except OSError as error:
            told.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert sorted(told) == ["gone", *["one"] * 4]


@pytest.mark.parametrize("keys", [MAX_HELD + 1, 10 * MAX_HELD])
async def test_callers_cannot_make_it_hold_any_number_of_readings(keys: int) -> None:
    file, latest = Counted(), Latest[str](Board())
    for key in range(keys):
        await latest.get(key, file.read)
    before = file.readings
    for key in range(keys):
        await latest.get(key, file.read)
    assert file.readings - before > keys - MAX_HELD
