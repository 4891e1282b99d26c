"""Every code of the catalog by a good case, in which it is not found, and a bad one with what a user then reads.

After a change that is meant: ``python -m tests.compiler.catalog_goldens``, and look at the difference.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.codes_page import codes_page
from compiler.pipeline import compile_tree
from tests.compiler.catalog_cases import CODES, FOLDER, MADE, case, example, findings, golden
from tests.compiler.catalog_goldens import PAGE

SHAPE = frozenset({"IST0106", "WFT0001", "WFT0002", "WFT0006"})
"""Mistakes that a case of another code would have by accident."""


def test_the_folder_holds_exactly_the_codes_of_the_catalog() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(CODES)
    for code in CODES:
        made = {verdict for of, verdict in MADE if of == code}
        assert {path.name for path in (FOLDER / code).iterdir()} == {"good", "bad", "bad.txt"} - made


@pytest.mark.parametrize("code", CODES)
def test_a_good_case_is_right_and_has_no_finding_of_its_code(code: str, tmp_path: Path) -> None:
    found = {item.code for item in findings(case(code, "good", tmp_path))}
    assert not found & {code, *SHAPE}


@pytest.mark.parametrize("code", CODES)
def test_a_bad_case_is_wrong_in_what_its_code_is_about_alone(code: str, tmp_path: Path) -> None:
    found = {item.code for item in findings(case(code, "bad", tmp_path))}
    assert code in found
    assert not found & SHAPE - {code}


@pytest.mark.parametrize("code", CODES)
def test_a_bad_case_reads_as_its_golden(code: str, tmp_path: Path) -> None:
    text = golden(case(code, "bad", tmp_path))
    assert text == (FOLDER / code / "bad.txt").read_text(encoding="utf-8")
    assert re.search(r"^@ \S+:\d+:\d+-\d+:\d+$", text, re.MULTILINE)


def test_the_page_of_codes_shows_the_catalog_and_these_cases() -> None:
    page = codes_page({code: example(code) for code in CODES})
    assert page == PAGE.read_text(encoding="utf-8"), "run: python -m tests.compiler.catalog_goldens"


def test_errors_in_what_is_not_read_stop_a_publish_unless_partial_ones_are_allowed(tmp_path: Path) -> None:
    tree = case("IST0147", "bad", tmp_path)
    assert compile_tree(tree).snapshot is None
    assert compile_tree(tree, allow_partial=True).snapshot is not None
