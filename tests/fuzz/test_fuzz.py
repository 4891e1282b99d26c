"""A short run of each fuzz target with fixed inputs; ``python -m tests.fuzz`` runs them for longer, with others."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from tests.fuzz.campaign import run_round
from tests.fuzz.seeds import files, meshes
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str) -> None:
    outcome = run_round(TARGETS[name], 1, 150)
    assert outcome.fault is None, outcome.fault.text
    assert outcome.inputs >= 100


def test_there_are_seeds_without_the_conformance_data_too() -> None:
    assert len(files()) > 100
    assert len(meshes()) > 100


def test_a_fault_is_found_shrunk_and_told_by_its_place() -> None:
    def refuse(value: object) -> None:
        assert isinstance(value, int)
        if value > 41:
            raise ValueError("too much")

    outcome = run_round(Target(lambda: st.integers(0, 1000), refuse), 1, 200)
    assert outcome.fault is not None
    assert outcome.fault.where.startswith("ValueError at test_fuzz.py:")
    assert outcome.fault.text.startswith("42\n")
