"""A short run of the differential, and that its list of known differences is the page's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from tests.differential.comparing import KNOWN
from tests.differential.running import run
from tests.differential.worlds import REPO, worlds

PAGE = REPO / "docs" / "reference" / "envoy-differences.md"
SEED = 7


def test_every_known_difference_has_a_section_with_its_reason() -> None:
    met = PAGE.read_text().partition("## Met by the comparison")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^### (.+)$", met, re.MULTILINE)) == sorted(KNOWN)


@pytest.mark.integration
def test_both_engines_give_the_same_answers_on_the_same_slices(tmp_path: Path) -> None:
    everything = worlds(SEED, meshes=4, every=12)
    tally = trio.run(run, everything, 1_500, SEED, tmp_path)
    assert tally.unexplained == []
    assert tally.refused == {}
    assert tally.requests == 1_500
