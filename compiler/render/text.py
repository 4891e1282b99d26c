"""Diagnostics for people: what, where, the line with a mark under it, and the next step."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator

from compiler.diagnostic import Diagnostic, Severity
from compiler.render.json_text import readable
from compiler.render.sources import Sources

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
_PLAIN, _STRONG, _FAINT = "", "bold", "blue"
_LONGEST_LINE = 200

Piece = tuple[str, str]
"""A stretch of text and the style that rich gives it."""


def render_text(found: Iterable[Diagnostic], sources: Sources, *, color: bool = False) -> str:
    """Each finding as a paragraph, an empty line after each. With ``color`` the text holds terminal escapes."""
    pieces = [(readable(text), style) for item in found for text, style in (*_paragraph(item, sources), ("\n", _PLAIN))]
    if not color:
        return "".join(text for text, _ in pieces)
    return colored(pieces)


def summarize(found: Iterable[Diagnostic], files: int) -> str:
    """The last line: ``3 errors, 1 warning in 12 files``."""
    severities = [item.severity for item in found]
    counts = [_count(severities.count(severity), severity.name.lower()) for severity in sorted(Severity, reverse=True)]
    listed = ", ".join(text for text in counts if text) or "nothing to report"
    return f"{listed} in {_count(files, 'file') or 'no files'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def _paragraph(item: Diagnostic, sources: Sources) -> Iterator[Piece]:
    style = _STYLES[item.severity]
    width = len(str(item.span.line))
    yield f"{item.severity.name.lower()}[{item.code}]", style
    yield f": {item.message}\n", _STRONG
    yield from _quoted(item, sources, style, width)
    gutter = f"{' ' * width} = "
    if item.resource is not None:
        yield gutter, _FAINT
        yield f"in {item.resource}\n", _PLAIN
    for other in item.related:
        yield gutter, _FAINT
        yield f"{other.message}: {printable(other.span.file)}:{other.span.line}:{other.span.column}\n", _PLAIN
    if item.help:
        yield gutter, _FAINT
        yield f"help: {item.help}\n", _PLAIN


def _quoted(item: Diagnostic, sources: Sources, style: str, width: int) -> Iterator[Piece]:
    span = item.span
    pad = " " * width
    yield f"{pad}--> ", _FAINT
    yield f"{printable(span.file)}:{span.line}:{span.column}\n", _PLAIN
    line = sources.line(span.file, span.line)
    if line is None or not line.strip():
        return
    if item.resource is not None and item.resource.kind == "Secret":
        # What stands behind the mark may be the secret itself.
        line = line[: span.end_column - 1]
    until = span.end_column if span.end_line == span.line else len(line) + 1
    before, marked = line[: span.column - 1], line[span.column - 1 : until - 1]
    if len(before) > _LONGEST_LINE:
        return
    yield f"{pad} |\n{span.line} | ", _FAINT
    yield f"{printable(line[:_LONGEST_LINE])}\n", _PLAIN
    yield f"{pad} | ", _FAINT
    yield f"{' ' * cells(before)}{'^' * max(1, cells(marked[:_LONGEST_LINE]))}\n", style


def printable(line: str) -> str:
    """The line without what a terminal would obey (escape sequences, tabs of unknown width)."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else " " if char == "\t" else "\ufffd" for char in line)


def cells(text: str) -> int:
    """How many columns of a terminal the text fills."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def colored(pieces: list[Piece]) -> str:
    """Pieces as text with terminal escapes."""
    # rich is imported late: most runs are in CI, without colours.
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", no_color=False, legacy_windows=False)
    console.print(Text.assemble(*pieces), end="", soft_wrap=True)
    return stream.getvalue()
