"""Waivers: which comments are some, what they take back, and what is said of those that do nothing."""

from __future__ import annotations

import pytest

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity, Span
from compiler.guardrails import waive, waivers_of


def waivers(text: str) -> list[tuple[int, tuple[str, ...], str]]:
    return [(item.line, item.codes, item.reason) for item in waivers_of("a.yaml", text.encode())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1 # weft: ignore[IST0130] why\n", [(1, ("IST0130",), "why")]),
        (
            "# weft: ignore[IST0130, WFT0301] for a reason\n\n# more\na: 1\n",
            [(4, ("IST0130", "WFT0301"), "for a reason")],
        ),
        ("a: '# weft: ignore[IST0130] no'\n", []),
        ("a: |\n  # weft: ignore[IST0130] no\nb: 1\n", []),
        ("a: b#weft: ignore[IST0130] no\n", []),
        ("a: 'x' # weft: ignore[IST0130] yes\n", [(1, ("IST0130",), "yes")]),
        ("a: 1\r\n# weft: ignore[IST0130] yes\r\nb: 2\r\n", [(3, ("IST0130",), "yes")]),
    ],
)
def test_a_waiver_is_a_comment_about_its_line_or_the_next(text: str, expected: list[object]) -> None:
    assert waivers(text) == expected


def finding(code: str, line: int = 1, severity: Severity | None = None) -> Diagnostic:
    return diagnostic(code, "x", Span("a.yaml", line, 1, line, 2), severity=severity)


def waived(text: str, *found: Diagnostic, complete: bool = True) -> list[str]:
    return [item.code for item in waive(found, waivers_of("a.yaml", text.encode()), complete=complete)]


def test_a_waiver_takes_back_the_findings_of_its_code_on_its_line() -> None:
    text = "a: 1 # weft: ignore[IST0130] why\n"
    assert waived(text, finding("IST0130"), finding("IST0130")) == []
    assert waived(text, finding("IST0130"), finding("IST0130", 2), finding("IST0131")) == ["IST0130", "IST0131"]


def test_a_guardrail_can_be_waived_whatever_its_severity() -> None:
    assert waived("a: 1 # weft: ignore[WFT0301] agreed\n", finding("WFT0301")) == []


def test_what_a_proxy_could_not_do_cannot_be_waived() -> None:
    assert waived("a: 1 # weft: ignore[IST0101] later\n", finding("IST0101")) == ["IST0101", "WFT0302"]
    assert waived("a: 1 # weft: ignore[WFT0200] later\n", finding("WFT0200")) == ["WFT0200", "WFT0303"]


def test_a_waiver_that_does_nothing_is_reported_where_all_was_checked() -> None:
    text = "a: 1 # weft: ignore[IST0130] why\n"
    assert waived(text) == ["WFT0302"]
    assert waived(text, complete=False) == []


@pytest.mark.parametrize(
    "comment",
    ["ignore[IST0130]", "ignore IST0130 why", "ignore[] why", "ignore[IST9999] why", "ignore[WFT0302] why"],
)
def test_a_waiver_without_code_or_reason_does_not_hold(comment: str) -> None:
    assert waived(f"a: 1 # weft: {comment}\n", finding("IST0130")) == ["IST0130", "WFT0303"]
