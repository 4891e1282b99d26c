"""The reference page of all codes, made from the catalog: ``python -m compiler.codes_page > docs/reference/codes.md``."""

from __future__ import annotations

import sys

from compiler.analysis_codes import NOT_FROM_GIT
from compiler.catalog import CATALOG
from compiler.code import Code

_HEAD = """\
# Codes of findings

What `weft check` and the other commands of the compiler report. Codes that start with IST are those of Istio's own analyzer, for the same
conditions; codes that start with WFT are weft's. An error stops a publish, a warning does not, a note only tells.
"""
_LEFT_OUT = """\
### Codes of Istio's analyzer that weft does not have

| code | name | why |
|---|---|---|
"""


def codes_page() -> str:
    """The page as Markdown: one section per code, whose heading is what ``Code.url`` points at."""
    left_out = "\n".join(f"| {code} | {name} | {why} |" for code, name, why in NOT_FROM_GIT)
    return "\n".join([_HEAD, *(_section(row) for row in CATALOG), f"{_LEFT_OUT}{left_out}\n"])


def _section(row: Code) -> str:
    advice = f"\nWhat to do: {row.help}\n" if row.help else ""
    return f"## {row.code}\n\n**{row.name}** ({row.severity.name.lower()}). {row.summary}\n{advice}"


if __name__ == "__main__":
    sys.stdout.write(codes_page())
