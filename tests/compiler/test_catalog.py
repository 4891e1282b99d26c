"""The catalog is one ordered table, and where Istio has a code its name is Istio's."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from compiler.catalog import BY_CODE, CATALOG, diagnostic
from compiler.codes_page import codes_page
from compiler.diagnostic import Severity, Span

CONFORMANCE = Path(os.environ.get("WEFT_CONFORMANCE") or Path(__file__).parents[3] / "shared" / "conformance")
AT = Span("a.yaml", 1, 1, 1, 2)


def test_no_code_and_no_name_is_used_twice() -> None:
    assert len({row.code for row in CATALOG}) == len(CATALOG) == len(BY_CODE)
    assert len({row.name for row in CATALOG}) == len(CATALOG)


def test_codes_and_names_have_one_form_and_summaries_are_sentences() -> None:
    for row in CATALOG:
        assert re.fullmatch(r"(WFT|IST)[0-9]{4}", row.code)
        assert re.fullmatch(r"([A-Z][a-z0-9]*)+|JwtClaimBasedRoutingWithoutRequestAuthN", row.name), row.name
        assert row.summary.endswith(".")
        assert not row.help or row.help.endswith(".")


def test_our_own_codes_are_in_order() -> None:
    ours = [row.code for row in CATALOG if row.code.startswith("WFT")]
    assert ours == sorted(ours)


def test_istios_codes_have_istios_names() -> None:
    path = CONFORMANCE / "analyzer" / "codes.json"
    if not path.exists():
        reason = f"no conformance data at {CONFORMANCE} (set WEFT_CONFORMANCE)"
        if os.environ.get("WEFT_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    names = {row["code"]: row["name"] for row in json.loads(path.read_text())["codes"]}
    assert {row.code: row.name for row in CATALOG if row.code.startswith("IST")}.items() <= names.items()


def test_every_code_has_a_section_that_its_url_points_at() -> None:
    page = codes_page(dict.fromkeys(BY_CODE, "an example"))
    for row in CATALOG:
        _, _, anchor = row.url.partition("#")
        assert f"\n## {anchor.upper()}\n\n**{row.name}** ({row.severity.name.lower()}). {row.summary}\n" in page
    assert page.count("\n## ") == len(CATALOG)


def test_a_finding_takes_from_its_row_what_it_does_not_say() -> None:
    row = BY_CODE["WFT0002"]
    plain = diagnostic("WFT0002", "twice", AT)
    assert (plain.severity, plain.help) == (row.severity, row.help)
    other = diagnostic("WFT0002", "twice", AT, help="", severity=Severity.NOTE)
    assert (other.severity, other.help) == (Severity.NOTE, "")


def test_a_code_that_is_not_in_the_catalog_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        diagnostic("WFT9999", "x", AT)
