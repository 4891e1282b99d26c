"""Which findings are shown: codes by their beginnings, the longest of which decides."""

from __future__ import annotations

import pytest

from compiler.catalog import diagnostic
from compiler.diagnostic import Severity, Span
from compiler.explanations import explain, similar
from compiler.selection import Selection, UnknownCodeError, beginnings


@pytest.mark.parametrize(
    ("select", "ignore", "code", "taken"),
    [
        ("", "", "IST0101", True),
        ("IST", "", "IST0101", True),
        ("IST", "", "WFT0001", False),
        ("", "IST", "IST0101", False),
        ("", "IST", "WFT0001", True),
        ("IST0101", "IST", "IST0101", True),
        ("IST", "IST0101", "IST0101", False),
        ("IST", "IST", "IST0101", False),
    ],
)
def test_the_longest_beginning_decides(select: str, ignore: str, code: str, *, taken: bool) -> None:
    selection = Selection(beginnings(select), beginnings(ignore))
    assert selection.takes(diagnostic(code, "x", Span("a.yaml", 1, 1, 1, 2))) is taken


@pytest.mark.parametrize(
    ("severity", "taken"), [(Severity.NOTE, True), (Severity.WARNING, True), (Severity.ERROR, False)]
)
def test_what_is_lighter_than_the_severity_asked_for_is_left_out(severity: Severity, *, taken: bool) -> None:
    assert Selection(severity=severity).takes(diagnostic("IST0130", "x", Span("a.yaml", 1, 1, 1, 2))) is taken


def test_a_list_of_codes_may_be_untidy_but_not_wrong() -> None:
    assert beginnings(" ist01, WFT0001,") == ("IST01", "WFT0001")
    with pytest.raises(UnknownCodeError, match="XYZ"):
        beginnings("IST,XYZ")


def test_a_code_is_explained_by_code_and_by_name() -> None:
    text = explain("ist0130")
    assert text is not None
    assert text.startswith("IST0130 VirtualServiceUnreachableRule (warning)\n")
    assert "What to do: " in text
    assert explain("virtualserviceunreachablerule") == text
    assert explain("IST9999") is None
    assert similar("VirtualServiceUnreachableRul")[0] == "VirtualServiceUnreachableRule"
