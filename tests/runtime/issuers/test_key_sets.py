"""How long key sets hold: fetched, refreshed, kept on disk, and given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from policies.tokens import KeySource
from runtime.issuers import KeyFetchError, KeySets
from runtime.issuers.keeper import FIRST_ANSWER_S, KEEP_S, LISTEN_S, REFRESH_S, RETRY_S
from snapshot.live import FetchedKeys

ONE, TWO = KeySource(uri="https://one.test/keys"), KeySource(issuer="https://two.test")


class Issuers:
    """What each source answers; None is a failure. ``asked`` counts."""

    def __init__(self) -> None:
        self.answers: dict[KeySource, bytes | None] = {ONE: b"one"}
        self.asked: list[KeySource] = []
        self.takes_s = 0.0

    async def fetch(self, source: KeySource) -> bytes:
        self.asked.append(source)
        await trio.sleep(self.takes_s)
        answer = self.answers.get(source)
        if answer is None:
            raise KeyFetchError("no")
        return answer


def key_sets(issuers: Issuers, folder: Path) -> KeySets:
    return KeySets(issuers.fetch, folder, clock=lambda: 1_000_000 + trio.current_time())


@asynccontextmanager
async def refreshing(sets: KeySets) -> AsyncIterator[list[tuple[FetchedKeys, ...]]]:
    told: list[tuple[FetchedKeys, ...]] = []

    async def emit(keys: tuple[FetchedKeys, ...]) -> None:
        told.append(keys)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sets.refresh_forever, emit)
        await trio.testing.wait_all_tasks_blocked()
        yield told
        nursery.cancel_scope.cancel()


async def test_a_set_is_fetched_once_before_a_slice_serves(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE}))
    await sets.want(frozenset({ONE}))
    assert sets.all() == (FetchedKeys(ONE, b"one"),)
    assert issuers.asked == [ONE]


async def test_a_slice_does_not_wait_for_ever(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    issuers = Issuers()
    issuers.takes_s = 60.0
    begin = trio.current_time()
    await key_sets(issuers, tmp_path).want(frozenset({ONE}))
    assert trio.current_time() - begin == pytest.approx(FIRST_ANSWER_S)


async def test_a_set_is_refreshed_and_told_where_it_has_changed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE}))
    async with refreshing(sets) as told:
        await trio.sleep(REFRESH_S + 2)
        assert (issuers.asked, told) == ([ONE, ONE], [])
        issuers.answers[ONE] = b"rotated"
        await trio.sleep(REFRESH_S + 2)
        assert told == [(FetchedKeys(ONE, b"rotated"),)]


async def test_a_set_that_could_not_be_had_is_tried_again_soon(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({TWO}))
    assert sets.all() == ()
    assert sets.problems == {TWO: "no"}
    async with refreshing(sets) as told:
        issuers.answers[TWO] = b"two"
        await trio.sleep(RETRY_S + 2)
        assert told == [(FetchedKeys(TWO, b"two"),)]
        assert sets.problems == {}
        assert sets.failed_total == 1


async def test_a_set_that_cannot_be_refreshed_holds_for_a_day_and_no_longer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE}))
    issuers.answers[ONE] = None
    async with refreshing(sets) as told:
        await trio.sleep(KEEP_S - REFRESH_S)
        assert told == []
        assert sets.all() == (FetchedKeys(ONE, b"one"),)
        await trio.sleep(2 * REFRESH_S)
        assert told == [()]


async def test_a_start_without_the_network_has_the_sets_of_before(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    await key_sets(Issuers(), tmp_path).want(frozenset({ONE}))
    lost = Issuers()
    lost.answers.clear()
    again = key_sets(lost, tmp_path)
    await again.want(frozenset({ONE, TWO}))
    assert again.all() == (FetchedKeys(ONE, b"one"),)
    assert lost.asked == [TWO]


async def test_a_file_that_is_broken_is_no_set(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    (tmp_path / "keys.json").write_text("{")
    sets = key_sets(Issuers(), tmp_path)
    await sets.want(frozenset({ONE}))
    assert sets.all() == (FetchedKeys(ONE, b"one"),)


async def test_what_no_slice_uses_is_forgotten(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    issuers = Issuers()
    issuers.answers[TWO] = b"two"
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE, TWO}))
    sets.only(frozenset({TWO}))
    assert sets.all() == (FetchedKeys(TWO, b"two"),)
    assert b"one.test" not in (tmp_path / "keys.json").read_bytes()


async def test_without_slots_nothing_is_read_or_asked(tmp_path: Path) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset())
    assert (sets.all(), issuers.asked) == ((), [])


async def test_an_issuer_that_does_not_answer_holds_up_one_slice_alone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    issuers.takes_s = 60.0
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE}))
    begin = trio.current_time()
    await sets.want(frozenset({ONE}))
    assert trio.current_time() == begin


async def test_a_key_that_tokens_name_and_a_set_lacks_is_asked_for_soon_and_not_all_the_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    issuers = Issuers()
    sets = key_sets(issuers, tmp_path)
    await sets.want(frozenset({ONE}))

    async def missed() -> list[KeySource]:
        return [ONE, TWO]

    async with refreshing(sets) as told, trio.open_nursery() as nursery:
        nursery.start_soon(sets.listen_forever, missed)
        issuers.answers[ONE] = b"rotated"
        await trio.sleep(RETRY_S + LISTEN_S + 2)
        assert told == [(FetchedKeys(ONE, b"rotated"),)]
        await trio.sleep(10 * RETRY_S)
        assert TWO not in issuers.asked
        assert len(issuers.asked) <= 13
        nursery.cancel_scope.cancel()
