"""The reference page of all codes, made from the catalog and from an example of each: ``python -m tests.compiler.catalog_goldens`` writes it."""

from __future__ import annotations

from collections.abc import Mapping

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


def codes_page(examples: Mapping[str, str]) -> str:
    """The page as Markdown: one section per code, whose heading is what ``Code.url`` points at. ``examples`` are findings as text, by code."""
    left_out = "\n".join(f"| {code} | {name} | {why} |" for code, name, why in NOT_FROM_GIT)
    return "\n".join([_HEAD, *(_section(row, examples[row.code]) for row in CATALOG), f"{_LEFT_OUT}{left_out}\n"])


def _section(row: Code, example: str) -> str:
    shown = "".join(f"    {line}".rstrip() + "\n" for line in example.splitlines())
    advice = f"\nWhat to do: {row.help}\n" if row.help else ""
    return f"## {row.code}\n\n**{row.name}** ({row.severity.name.lower()}). {row.summary}\n\n{shown}{advice}"
