"""Diagnostics as GitLab's code quality report, which a merge request shows beside its changes."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.catalog import BY_CODE
from compiler.diagnostic import Diagnostic, Severity
from compiler.render.fingerprints import fingerprinted
from compiler.render.json_text import json_text

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render_gitlab(found: Iterable[Diagnostic]) -> str:
    """A JSON list, one object per finding; the fingerprint stays when lines move."""
    entries = [_entry(item, fingerprint) for item, fingerprint in fingerprinted(found)]
    return json_text(entries)


def _entry(item: Diagnostic, fingerprint: str) -> dict[str, object]:
    span = item.span
    return {
        "description": f"{item.message}. {item.help}" if item.help else item.message,
        "check_name": f"{item.code} {BY_CODE[item.code].name}",
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[item.severity],
        "location": {"path": span.file, "lines": {"begin": span.line, "end": span.end_line}},
    }
