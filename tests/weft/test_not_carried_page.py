"""The page of what is not carried yet is what the compiler refuses."""

from __future__ import annotations

from pathlib import Path

from weft.not_carried_page import not_carried_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "not-carried.md"


def test_the_page_is_made_from_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == not_carried_page(), (
        "run: .venv/bin/python -m weft.not_carried_page > docs/reference/not-carried.md"
    )
