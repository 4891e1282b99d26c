"""A few seeded rounds of what the fault programs do at length, against every kind of store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.mutations import Outcome, Victim
from tests.faults.places import Tampered
from tests.faults.publisher_kills import kill_publishers
from tests.faults.trust_mutations import mutate
from tests.stores import MemoryStore

KILLS = 3
EVERY = 37


@pytest.mark.integration
def test_a_publisher_killed_at_random_moments_never_spoils_a_store(tampered: Tampered, tmp_path: Path) -> None:
    folder = tmp_path / "witnesses"
    folder.mkdir()
    tally = kill_publishers(tampered.place, folder, kills=KILLS, seed=5)
    assert len(tally.rounds) == KILLS
    assert tally.names >= 2 * (KILLS + 2), "two names per publication that went well"


@pytest.mark.integration
def test_no_file_of_a_store_can_be_changed_unnoticed(tampered: Tampered) -> None:
    outcome = mutate(tampered, every=EVERY)
    assert outcome.refused.total() + len(outcome.loaded) >= 1_000 // EVERY
    assert set(outcome.refused) >= {"digest", "undecodable", "wrong_signature"}


def test_none_of_a_thousand_mutations_is_loaded_and_release_1_stays(tmp_path: Path) -> None:
    outcome = Outcome()
    victim = Victim(tmp_path)
    for mutation in victim.mutations():
        files = {**victim.newer, mutation.name: mutation.content or b""}
        if mutation.content is None:
            del files[mutation.name]
        victim.judge(MemoryStore(files), mutation, outcome)
    victim.require_none_loaded(outcome)
    assert outcome.refused.total() >= 1_000
    assert set(outcome.refused) >= {"digest", "undecodable", "wrong_signature", "too_large", "missing"}
