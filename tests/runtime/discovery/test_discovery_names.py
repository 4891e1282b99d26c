"""DNS under a clock of the test's own: what changes is told, what fails leaves what was known."""

from __future__ import annotations

import socket

import trio
import trio.testing

from runtime.discovery.names import FIRST_ANSWER_S, REFRESH_S, Names
from snapshot.live import Resolved

A = ("a.test", 80)


class Resolver:
    """Answers from a table; an exception in it is raised, None never answers."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, object] = answers
        self.asked = 0

    async def look_up(self, host: str, port: int) -> list[str]:
        self.asked += 1
        answer = self.answers[host.partition(".")[0]]
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return answer


async def test_a_new_slice_has_both_families_in_the_resolvers_order_before_it_serves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names(look_up=Resolver(a=["::1", "127.0.0.1", "127.0.0.1"]).look_up)
    await names.want(frozenset({A}))
    assert names.all() == (Resolved("a.test", 80, ("::1", "127.0.0.1")),)


async def test_a_name_that_does_not_answer_holds_a_slice_up_for_a_bounded_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names(look_up=Resolver(a=None).look_up)
    await names.want(frozenset({A}))
    assert trio.current_time() == FIRST_ANSWER_S
    assert names.all() == ()


async def told(names: Names, change: object, resolver: Resolver, *, within_s: float) -> list[tuple[Resolved, ...]]:
    heard: list[tuple[Resolved, ...]] = []

    async def emit(resolved: tuple[Resolved, ...]) -> None:
        heard.append(resolved)

    await names.want(frozenset({A}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.refresh_forever, emit)
        resolver.answers["a"] = change
        await trio.sleep(within_s)
        nursery.cancel_scope.cancel()
    return heard


async def test_a_changed_answer_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    resolver = Resolver(a=["127.0.0.1"])
    heard = await told(Names(look_up=resolver.look_up), ["127.0.0.2"], resolver, within_s=3 * REFRESH_S + 1)
    assert heard == [(Resolved("a.test", 80, ("127.0.0.2",)),)]
    assert resolver.asked == 4


async def test_a_name_that_is_no_more_has_no_addresses(autojump_clock: trio.testing.MockClock) -> None:
    resolver = Resolver(a=["127.0.0.1"])
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert await told(Names(look_up=resolver.look_up), gone, resolver, within_s=REFRESH_S + 1) == [
        (Resolved("a.test", 80, ()),)
    ]


async def test_a_resolver_that_fails_or_hangs_leaves_the_last_addresses(autojump_clock: trio.testing.MockClock) -> None:
    for change in (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), OSError("no network"), None):
        resolver = Resolver(a=["127.0.0.1"])
        names = Names(look_up=resolver.look_up)
        assert await told(names, change, resolver, within_s=2 * REFRESH_S) == []
        assert names.all() == (Resolved("a.test", 80, ("127.0.0.1",)),)


async def test_names_of_slices_that_are_gone_are_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    names = Names(look_up=Resolver(a=["127.0.0.1"], b=["127.0.0.2"]).look_up)
    await names.want(frozenset({A, ("b.test", 80)}))
    names.only(frozenset({A}))
    assert [one.host for one in names.all()] == ["a.test"]


async def test_names_are_resolved_again_as_often_as_the_mesh_says(autojump_clock: trio.testing.MockClock) -> None:
    resolver = Resolver(a=["127.0.0.1"])
    names = Names(look_up=resolver.look_up)
    names.only(frozenset({A}), refresh_s=60.0)
    await told(names, ["127.0.0.1"], resolver, within_s=3 * 60.0 + 1)
    assert resolver.asked == 4


async def test_a_slice_that_asks_for_more_need_not_wait_for_what_the_last_one_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    resolver = Resolver(a=["127.0.0.1"])
    names = Names(look_up=resolver.look_up)
    names.only(frozenset({A}), refresh_s=3_600.0)

    async def hasten() -> None:
        await trio.sleep(10)
        names.only(frozenset({A}), refresh_s=20.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hasten)
        await told(names, ["127.0.0.1"], resolver, within_s=41)
        nursery.cancel_scope.cancel()
    assert resolver.asked == 3
