"""Conditions that only weft looks for, beyond the good and the bad case of each code: shadowed rules by a table, dates, idioms."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.compiler.catalog_cases import NOW, case
from tests.compiler.kinds_in_yaml import deployment, document, service

ROUTE = "[{destination: {host: web}}]"
WEB = service("web", "[{name: http, port: 80}]") + deployment("web")


def matched(*matches: str) -> str:
    """A VirtualService with one rule per argument."""
    http = ", ".join(f"{{match: [{match}], route: {ROUTE}}}" for match in matches)
    return WEB + document("networking.istio.io/v1", "VirtualService", "v", f"{{hosts: [web], http: [{http}]}}")


def found(text: str) -> list[Diagnostic]:
    return check(MemoryTree({"a.yaml": text.encode()}), Dates(NOW))


def codes(text: str) -> set[str]:
    return {item.code for item in found(text)}


SHADOWED = {
    "a shorter prefix": ("{uri: {prefix: /a}}", "{uri: {prefix: /ab}}"),
    "all of a header's states": (
        "{headers: {x: {exact: a}}}",
        "{withoutHeaders: {x: {exact: a}}}",
        "{uri: {prefix: /b}}",
    ),
    "both schemes": ("{scheme: {exact: http}}", "{scheme: {exact: https}}", "{method: {exact: GET}}"),
    "a regular expression for one value": ("{uri: {regex: '/v[12]'}}", "{uri: {exact: /v1}}"),
    "a prefix whatever its case": (
        "{uri: {prefix: /A}, ignoreUriCase: true}",
        "{uri: {exact: /ab}, ignoreUriCase: true}",
    ),
}
REACHED = {
    "a longer prefix first": ("{uri: {prefix: /ab}}", "{uri: {prefix: /a}}"),
    "another method": ("{uri: {prefix: /a}, method: {exact: GET}}", "{uri: {prefix: /a/b}}"),
    "single paths before a prefix": ("{uri: {exact: /a}}", "{uri: {exact: /a/}}", "{uri: {prefix: /a}}"),
    "an expression with another start": ("{uri: {prefix: /a}}", "{uri: {regex: '/b[0-9]+'}}"),
    "another port": ("{uri: {prefix: /a}, port: 80}", "{uri: {prefix: /a/b}, port: 81}"),
    "another case": ("{uri: {prefix: /A}}", "{uri: {exact: /ab}}"),
    "a header that may be absent": ("{headers: {x: {regex: '.*'}}}", "{uri: {prefix: /}}"),
}


@pytest.mark.parametrize("name", SHADOWED)
def test_a_rule_that_earlier_ones_cover_is_shadowed(name: str) -> None:
    shadows = [item for item in found(matched(*SHADOWED[name])) if item.code == "WFT0120"]
    assert [item.severity for item in shadows] == [Severity.WARNING]
    assert shadows[0].related


@pytest.mark.parametrize("name", REACHED)
def test_a_rule_that_is_reached_is_not_shadowed(name: str) -> None:
    assert not {"WFT0120", "WFT0121", "IST0130"} & codes(matched(*REACHED[name]))


def test_an_optional_letter_is_no_certain_start_of_an_expression() -> None:
    assert "WFT0121" in codes(matched("{uri: {prefix: /acx}}", "{uri: {regex: '/ab?cx.*'}}"))


def test_only_the_rules_that_are_needed_to_cover_one_are_named() -> None:
    text = matched("{uri: {prefix: /x}}", "{uri: {prefix: /a}}", "{uri: {prefix: /ab}, method: {exact: GET}}")
    shadow = next(item for item in found(text) if item.code == "WFT0120")
    assert "http[1]" in shadow.message
    assert "http[0]" not in shadow.message


def test_an_end_within_the_asked_days_fails_and_no_date_says_nothing(tmp_path: Path) -> None:
    ending = case("WFT0130", "bad", tmp_path)
    failing = [item for item in check(ending, Dates(NOW, 30, fails=True)) if item.code == "WFT0130"]
    assert [item.severity for item in failing] == [Severity.ERROR]
    assert not [item for item in check(ending, Dates(NOW, 10, fails=True)) if item.code == "WFT0130"]
    assert not [item for item in check(ending) if item.code in ("WFT0130", "IST0161")]


def test_an_authorization_document_of_the_idiom_for_denying_all_is_no_mistake() -> None:
    policy = ("security.istio.io/v1", "AuthorizationPolicy", "p")
    assert "WFT0124" not in codes(WEB + document(*policy, "{}"))
    assert "WFT0124" in codes(WEB + document(*policy, "{selector: {matchLabels: {app: web}}}"))
