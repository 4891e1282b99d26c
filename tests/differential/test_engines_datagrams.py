"""A short run of the comparison of datagrams, and shares as weights have them on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.match import Exact
from policies.traffic import Destination
from tests.differential.datagrams import DatagramWorld, compare, run_datagrams
from tests.slices import SOURCE

pytestmark = pytest.mark.integration


async def test_both_engines_treat_the_same_datagrams_alike(tmp_path: Path) -> None:
    sent, found = await run_datagrams(7, 8, 7, tmp_path)
    assert found == []
    assert sent == 8 * 7 * 3


async def test_both_engines_share_clients_out_by_weight(tmp_path: Path) -> None:
    destinations = (Destination("one", 5), Destination("two", 3), Destination("three", 2))
    assert await compare(DatagramWorld(destinations, frozenset(), ()), 250, 1, tmp_path) == []


async def test_both_engines_know_the_smallest_of_several_blocks(tmp_path: Path) -> None:
    inside = Clause("source.ip", (Exact("127.0.0.0/8"),), (Exact("127.1.0.0/16"),))
    lone = Clause("remote.ip", (Exact("127.1.2.0/25"),))
    rules = (Rule(SOURCE, ((inside,),)), Rule(SOURCE, ((lone,),)))
    allow = AuthorizationPolicy(SOURCE, Action.ALLOW, rules)
    world = DatagramWorld((Destination("one"),), frozenset(), (allow,))
    assert world.possible("127.1.2.3") == world.possible("127.0.0.1") == {"127.88.0.1": 1.0}
    assert world.possible("127.1.2.200") == {}
    assert await compare(world, 40, 1, tmp_path) == []
