"""Findings as code hosts and CI systems read them: the parts that they depend on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Severity, Span
from compiler.render import (
    Sources,
    render_github,
    render_gitlab,
    render_json,
    render_junit,
    render_sarif,
    render_text,
)
from compiler.tree import MemoryTree
from tests.compiler.catalog_cases import CODES, case, findings

ABOUT = ResourceId("VirtualService", "shop", "reviews")

SARIF_SCHEMA = os.environ.get("WEFT_SARIF_SCHEMA", "")
"""A copy of the published schema, which is not ours to keep here (CONTRIBUTING says where to find one)."""


def finding(
    *, line: int = 4, code: str = "IST0106", file: str = "mesh/a b.yaml", message: str = "unknown"
) -> Diagnostic:
    related = (Related(Span("mesh/b.yaml", 2, 1, 2, 5), "first set here"),)
    return diagnostic(code, message, Span(file, line, 5, line, 9), resource=ABOUT, related=related, help="Remove it.")


def test_sarif_has_a_rule_per_code_and_a_result_per_finding() -> None:
    log = json.loads(render_sarif([finding(), finding(code="WFT0002"), finding(line=9)]))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["IST0106", "WFT0002"]
    assert [(item["ruleId"], item["ruleIndex"]) for item in run["results"]] == [
        ("IST0106", 0),
        ("WFT0002", 1),
        ("IST0106", 0),
    ]
    result = run["results"][0]
    assert result["level"] == "error"
    assert result["message"]["text"] == "unknown. Remove it."
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "mesh/a%20b.yaml", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 4, "startColumn": 5, "endLine": 4, "endColumn": 9},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "VirtualService shop/reviews"
    assert result["relatedLocations"][0]["message"]["text"] == "first set here"


SARIF = json.loads(Path(__file__).with_name("sarif_subset.json").read_text())
ODD = diagnostic("WFT0003", "an escape \x1b and <&\u2028", Span("a b/\u00fc%\udcff.yaml", 1, 1, 1, 1), help="")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Diagnostic]:
    """Findings of every code of the catalog, and one with an odd name and message."""
    bad = (case(code, "bad", tmp_path_factory.mktemp(code)) for code in CODES)
    return [*(item for tree in bad for item in findings(tree)), ODD]


def test_sarif_of_every_code_is_what_the_standard_allows(everything: list[Diagnostic]) -> None:
    judge = jsonschema.Draft202012Validator(SARIF)
    for found in ([], everything):
        log = json.loads(render_sarif(found))
        assert [error.message for error in judge.iter_errors(log)] == []
        (run,) = log["runs"]
        rules = run["tool"]["driver"]["rules"]
        assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
        assert len(run["results"]) == len(found)


if SARIF_SCHEMA:

    def test_sarif_of_every_code_is_valid_by_its_published_schema(everything: list[Diagnostic]) -> None:
        schema = json.loads(Path(SARIF_SCHEMA).read_text())
        judge = jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())
        for found in ([], everything, *([item] for item in everything)):
            errors = judge.iter_errors(json.loads(render_sarif(found)))
            assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_gitlab_of_every_code_has_what_its_report_requires(everything: list[Diagnostic]) -> None:
    entries = json.loads(render_gitlab(everything))
    assert len({entry["fingerprint"] for entry in entries}) == len(entries) == len(everything)
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert 1 <= entry["location"]["lines"]["begin"] <= entry["location"]["lines"]["end"]
        assert not entry["location"]["path"].startswith(("/", "./"))


def test_junit_of_every_code_is_well_formed_and_counts_right(everything: list[Diagnostic]) -> None:
    root = ET.fromstring(render_junit(everything, ["clean.yaml"]))
    cases = root.findall("./testsuite/testcase")
    assert int(root.get("tests", "")) == len(cases) == len(everything) + 1
    assert int(root.get("failures", "")) == len(root.findall(".//failure"))
    assert all(item.get("classname") and item.get("name") for item in cases)


def test_sarif_of_nothing_is_still_a_run() -> None:
    (run,) = json.loads(render_sarif([]))["runs"]
    assert run["results"] == run["tool"]["driver"]["rules"] == []


@pytest.mark.parametrize("severity", list(Severity))
def test_every_severity_has_its_level_in_sarif_and_gitlab(severity: Severity) -> None:
    item = diagnostic("IST0106", "x", Span("a.yaml", 1, 1, 1, 2), severity=severity)
    (run,) = json.loads(render_sarif([item]))["runs"]
    assert run["results"][0]["level"] == severity.name.lower()
    assert json.loads(render_gitlab([item]))[0]["severity"] in {"info", "minor", "critical"}


def test_a_fingerprint_stays_when_lines_move_and_tells_equal_findings_apart() -> None:
    def prints(*found: Diagnostic) -> list[str]:
        return [entry["fingerprint"] for entry in json.loads(render_gitlab(found))]

    assert prints(finding(line=4)) == prints(finding(line=40))
    assert len(set(prints(finding(line=4), finding(line=5)))) == 2
    assert prints(finding(message="other")) != prints(finding())


def test_gitlab_gets_what_its_report_requires() -> None:
    (entry,) = json.loads(render_gitlab([finding()]))
    assert entry["description"] == "unknown. Remove it."
    assert entry["check_name"] == "IST0106 SchemaValidationError"
    assert re.fullmatch("[0-9a-f]{64}", entry["fingerprint"])
    assert entry["location"] == {"path": "mesh/a b.yaml", "lines": {"begin": 4, "end": 4}}


def test_junit_fails_for_errors_and_passes_for_clean_files_and_warnings() -> None:
    warning = diagnostic("IST0130", "never used", Span("w.yaml", 1, 1, 1, 2))
    text = render_junit([finding(message='<"&\x1b'), warning], ["clean.yaml", "mesh/a b.yaml", "w.yaml"])
    root = ET.fromstring(text)
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    cases = root.findall("./testsuite/testcase")
    assert [case.get("classname") for case in cases] == ["clean.yaml", "mesh/a b.yaml", "w.yaml"]
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], ["system-out"]]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == '<"&\ufffd'
    assert "mesh/a b.yaml:4:5" in (failure.text or "")


def test_a_file_name_that_is_no_utf8_is_written_in_every_format() -> None:
    sources = Sources(MemoryTree({}))
    for text in (
        *(render([ODD]) for render in (render_json, render_sarif, render_gitlab, render_github)),
        render_junit([ODD], []),
        render_text([ODD], sources),
        render_text([ODD], sources, color=True),
    ):
        assert text.encode()


def test_a_file_name_cannot_make_a_terminal_obey() -> None:
    named = diagnostic("WFT0003", "odd", Span("a\x1b[31m.yaml", 1, 1, 1, 1))
    assert "\x1b" not in render_text([named], Sources(MemoryTree({})))
