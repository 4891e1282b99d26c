"""Every finding over all outside inputs has a file, a line, a column and an end, and all of them are inside that file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from compiler.catalog import BY_CODE
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Span
from compiler.pipeline import check
from compiler.text import lines
from compiler.tree import MemoryTree
from tests.compiler.catalog_cases import NOW
from tests.compiler.compiled import conformance

FOLDERS = ("analyzer", "authz", "gateway-conformance", "golden")
SUFFIXES = {".yaml", ".yml", ".json"}
MAX_BYTES = 256 * 1024


def inputs(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file() and path.stat().st_size <= MAX_BYTES:
            yield path.name, path.read_bytes()


def misplaced(item: Diagnostic, rows: dict[str, list[str]]) -> str:
    """What is wrong with a finding's places, "" for nothing."""
    for span in (item.span, *(other.span for other in item.related)):
        if span.file not in rows:
            return f"{item.code}: {span.file} is no file of the tree"
        if not _is_inside(span, rows[span.file]):
            return f"{item.code}: {span} is outside of its file"
    return "" if item.message and item.code in BY_CODE else f"{item.code}: says nothing"


def _is_inside(span: Span, rows: list[str]) -> bool:
    def holds(line: int, column: int) -> bool:
        return 1 <= line <= len(rows) + 1 and 1 <= column <= len(rows[line - 1] if line <= len(rows) else "") + 1

    start, end = (span.line, span.column), (span.end_line, span.end_column)
    return holds(*start) and holds(*end) and start <= end


@pytest.mark.parametrize("folder", FOLDERS)
def test_findings_in_outside_files_stand_inside_them(folder: str) -> None:
    wrong: list[str] = []
    seen = 0
    for name, content in inputs(conformance(folder)):
        rows = {name: lines(content.decode("utf-8-sig", "replace"))}
        for item in check(MemoryTree({name: content}), Dates(NOW)):
            seen += 1
            problem = misplaced(item, rows)
            if problem:
                wrong.append(f"{name}: {problem}")
    assert wrong == []
    assert seen > 20
