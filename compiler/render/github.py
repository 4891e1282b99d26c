"""Diagnostics as workflow commands, which GitHub shows as annotations on the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.catalog import BY_CODE
from compiler.diagnostic import Diagnostic, Severity
from compiler.render.json_text import readable

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_github(found: Iterable[Diagnostic]) -> str:
    """One command per line and finding."""
    return "".join(f"{_command(item)}\n" for item in found)


def _command(item: Diagnostic) -> str:
    span = item.span
    properties = {
        "file": span.file,
        "line": str(span.line),
        "endLine": str(span.end_line),
        "col": str(span.column),
        "endColumn": str(span.end_column),
        "title": f"{item.code} {BY_CODE[item.code].name}",
    }
    if span.end_line != span.line:
        # GitHub takes columns only where both are on one line.
        del properties["col"], properties["endColumn"]
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = f"{item.message}. {item.help}" if item.help else item.message
    return f"::{_COMMANDS[item.severity]} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return readable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
