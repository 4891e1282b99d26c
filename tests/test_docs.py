"""The documentation keeps its promises: links lead somewhere, generated pages are those of the program, decisions stay short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.telemetry.reference import telemetry_page
from weft.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAX_ADR_LINES = 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_of_the_repository(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link and link[0] != "#"]
    missing = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []


def test_the_telemetry_page_is_what_the_program_does() -> None:
    written = (ROOT / "docs" / "reference" / "telemetry.md").read_text(encoding="utf-8")
    assert written == telemetry_page(), "run: python -m runtime.telemetry.reference > docs/reference/telemetry.md"


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda record: record.stem)
def test_a_decision_is_short_and_names_what_it_costs(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_ADR_LINES
    assert re.match(rf"# {int(record.stem[:4])}\. ", text)
    for heading in ("## Status", "## Context", "## Decision", "## Consequences"):
        assert heading in text


def test_every_command_that_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"^ {4}weft ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert shown
    assert shown <= set(COMMANDS)


def test_the_makefile_has_every_target_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= targets
