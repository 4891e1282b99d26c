"""Carrying out the edits that findings propose. Only the text at their spans changes, so comments and layout stay to the letter."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.diagnostic import Diagnostic, Edit
from compiler.text import decode, line_starts


def fixed_text(file: str, content: bytes, found: Iterable[Diagnostic]) -> tuple[bytes, int]:
    """A file's content with the edits that its findings propose, and how many were made; of two that overlap the first is made.

    The file must be text as YAML takes it, which it is where a finding proposes an edit in it.
    """
    text = decode(file, content)
    mark = content[: len(content) - len(text.encode("utf-8"))]
    starts = line_starts(text)
    edits = {item.edit for item in found if item.edit is not None and item.edit.span.file == file}
    made = 0
    end_of_last = len(text) + 1
    # From the end, so that what comes before keeps its place.
    for edit in sorted(edits, key=lambda edit: edit.span, reverse=True):
        start, end = _range(edit, starts)
        if end <= end_of_last:
            before = text[:start] if edit.text else text[:start].rstrip(" \t")
            text, end_of_last, made = before + edit.text + text[end:], start, made + 1
    return mark + text.encode("utf-8"), made


def _range(edit: Edit, starts: list[int]) -> tuple[int, int]:
    span = edit.span
    return starts[span.line - 1] + span.column - 1, starts[span.end_line - 1] + span.end_column - 1
