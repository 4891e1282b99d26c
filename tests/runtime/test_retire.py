"""What a generation owned is freed in batches, and not before the last request under it has ended."""

from __future__ import annotations

import weakref

import trio
import trio.testing

from policies.match import PathPrefix
from runtime.retire import BATCH, LONGEST_S, free, parts_of
from tests.slices import cluster, gateway_listener, host_sections, prepared_of, route, table


class Generation:
    """Stands for a generation: all that is asked of it is whether it is alive."""


class Parts(list[object]):
    """A list that remembers how much was taken from it at a time."""

    def __init__(self, count: int) -> None:
        super().__init__(object() for _ in range(count))
        self.taken: list[int] = []

    def __delitem__(self, where: object) -> None:
        before = len(self)
        super().__delitem__(where)  # type: ignore[arg-type]
        self.taken.append(before - len(self))


async def test_parts_stay_until_the_generation_is_gone_and_then_go_in_batches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    generation = Generation()
    parts = Parts(2 * BATCH + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(free, weakref.ref(generation), parts)
        await trio.sleep(5)
        assert parts.taken == []
        del generation
    assert parts.taken == [BATCH, BATCH, 1]


async def test_a_generation_that_is_held_for_ever_does_not_hold_its_parts_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    generation = Generation()
    parts: list[object] = [object()]
    with trio.fail_after(LONGEST_S + 1):
        await free(weakref.ref(generation), parts)  # type: ignore[arg-type]
    assert parts == []


def test_the_routes_the_index_and_the_sections_are_parts_and_what_holds_them_is_not() -> None:
    sections = [
        *host_sections("all", ["*"], [route(PathPrefix("/r1"), name="r1"), route(PathPrefix("/r1"), name="r2")]),
        table(),
        cluster("a"),
        gateway_listener(),
    ]
    prepared = prepared_of(*sections)
    parts = parts_of(prepared)
    routes = [route for host in prepared.hosts.values() for route in host.routes.values()]
    assert len(routes) == 2
    ranks = [part for host in prepared.hosts.values() for part in host.paths.parts()]
    assert len(ranks) == 1
    for part in [*routes, *ranks, *prepared.sections.values()]:
        assert any(part is one for one in parts)
    for holder in prepared.hosts.values():
        # A host among the parts would keep its routes until the last batch, and then free them all at once.
        assert not any(holder is one for one in parts)
