"""Findings as people, programs and GitHub read them. The expected texts are written out: they are what users see."""

from __future__ import annotations

import json
import textwrap

import pytest

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Severity, Span
from compiler.render import Sources, render_github, render_json, render_text, summarize
from compiler.tree import MemoryTree

TEXT = textwrap.dedent("""\
    kind: VirtualService
    spec:
      http:
      - rout: [a]
    \ttabs: x
      wide: 日本 héllo
      escape: \x1b[31mred
    """)
SOURCES = Sources(MemoryTree({"mesh/a.yaml": TEXT.encode()}))
ABOUT = ResourceId("VirtualService", "shop", "reviews")


def finding(line: int, column: int, end_line: int, end_column: int) -> Diagnostic:
    return diagnostic(
        "IST0106", "unknown field `rout`", Span("mesh/a.yaml", line, column, end_line, end_column), help=""
    )


FULL = diagnostic(
    "WFT0002",
    "the key `rout` is here twice",
    Span("mesh/a.yaml", 4, 5, 4, 9),
    resource=ABOUT,
    related=(Related(Span("mesh/b.yaml", 2, 1, 2, 5), "first set here"),),
    help="Remove one.",
)


def test_a_finding_quotes_its_line_and_marks_what_is_wrong() -> None:
    assert render_text([FULL], SOURCES) == textwrap.dedent("""\
        error[WFT0002]: the key `rout` is here twice
         --> mesh/a.yaml:4:5
          |
        4 |   - rout: [a]
          |     ^^^^
          = in VirtualService shop/reviews
          = first set here: mesh/b.yaml:2:1
          = help: Remove one.

        """)


@pytest.mark.parametrize(
    ("item", "row", "mark"),
    [
        (finding(1, 1, 2, 3), "1 | kind: VirtualService", "  | ^^^^^^^^^^^^^^^^^^^^"),
        (finding(4, 14, 4, 14), "4 |   - rout: [a]", "  |              ^"),
        (finding(5, 2, 5, 6), "5 |  tabs: x", "  |  ^^^^"),
        (finding(6, 9, 6, 11), "6 |   wide: 日本 héllo", "  |         ^^^^"),
        (finding(6, 12, 6, 17), "6 |   wide: 日本 héllo", "  |              ^^^^^"),
        (finding(7, 3, 7, 9), "7 |   escape: \ufffd[31mred", "  |   ^^^^^^"),
    ],
)
def test_the_mark_stands_under_the_characters_that_it_means(item: Diagnostic, row: str, mark: str) -> None:
    shown = render_text([item], SOURCES).splitlines()
    assert shown[3:5] == [row, mark]


def test_a_line_that_is_not_there_is_not_quoted() -> None:
    shown = render_text([finding(99, 1, 99, 2)], SOURCES)
    assert shown.splitlines() == ["error[IST0106]: unknown field `rout`", "  --> mesh/a.yaml:99:1", ""]


def test_a_secrets_line_is_quoted_up_to_the_mark_only() -> None:
    sources = Sources(MemoryTree({"s.yaml": b"data: {pin: 4711}\n"}))
    item = diagnostic("IST0106", "data.pin", Span("s.yaml", 1, 8, 1, 11), resource=ResourceId("Secret", "a", "b"))
    shown = render_text([item], sources)
    assert "1 | data: {pin\n" in shown
    assert "4711" not in shown


def test_colours_are_escapes_around_the_same_text() -> None:
    colored = render_text([FULL], SOURCES, color=True)
    assert "\x1b[1;31merror[WFT0002]" in colored
    plain = colored
    while "\x1b[" in plain:
        before, _, rest = plain.partition("\x1b[")
        plain = before + rest.partition("m")[2]
    assert plain == render_text([FULL], SOURCES)


def test_json_has_the_same_keys_in_every_entry() -> None:
    entries = json.loads(render_json([FULL, finding(1, 1, 1, 5)]))
    assert entries[0] == {
        "code": "WFT0002",
        "name": "DuplicateKey",
        "severity": "error",
        "message": "the key `rout` is here twice",
        "file": "mesh/a.yaml",
        "line": 4,
        "column": 5,
        "end_line": 4,
        "end_column": 9,
        "resource": {"kind": "VirtualService", "namespace": "shop", "name": "reviews"},
        "related": [
            {
                "message": "first set here",
                "file": "mesh/b.yaml",
                "line": 2,
                "column": 1,
                "end_line": 2,
                "end_column": 5,
            }
        ],
        "help": "Remove one.",
        "url": "docs/reference/codes.md#wft0002",
    }
    assert entries[1]["resource"] is None
    assert entries[1].keys() == entries[0].keys()
    assert render_json([]) == "[]\n"


def test_github_gets_one_command_per_finding_with_its_separators_escaped() -> None:
    odd = diagnostic("WFT0011", "50% of a,b:\nc", Span("a,b:c.yaml", 1, 2, 1, 4), help="")
    assert render_github([FULL, odd]) == (
        "::error file=mesh/a.yaml,line=4,endLine=4,col=5,endColumn=9,title=WFT0002 DuplicateKey::"
        "the key `rout` is here twice. Remove one.\n"
        "::notice file=a%2Cb%3Ac.yaml,line=1,endLine=1,col=2,endColumn=4,title=WFT0011 UnknownKind::"
        "50%25 of a,b:%0Ac\n"
    )


def test_github_gets_no_columns_where_a_finding_has_several_lines() -> None:
    assert "col=" not in render_github([finding(1, 1, 2, 3)])


@pytest.mark.parametrize(
    ("severities", "files", "line"),
    [
        ([], 0, "nothing to report in no files"),
        ([], 12, "nothing to report in 12 files"),
        ([Severity.ERROR], 1, "1 error in 1 file"),
        (
            [Severity.NOTE, Severity.ERROR, Severity.WARNING, Severity.ERROR],
            2,
            "2 errors, 1 warning, 1 note in 2 files",
        ),
    ],
)
def test_the_summary_counts_what_there_is(severities: list[Severity], files: int, line: str) -> None:
    span = Span("a.yaml", 1, 1, 1, 2)
    found = [diagnostic("IST0106", "x", span, severity=severity) for severity in severities]
    assert summarize(found, files) == line
