"""Diagnostics as JSON: a list of objects with the same keys in every entry."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from compiler.catalog import BY_CODE
from compiler.diagnostic import Diagnostic, Related, Span
from compiler.render.json_text import json_text


def render_json(found: Iterable[Diagnostic]) -> str:
    """A JSON list, one object per finding. ``severity`` is error, warning or note; ``resource`` is null where a finding is about none."""
    return json_text([_entry(item) for item in found])


def _entry(item: Diagnostic) -> dict[str, object]:
    row = BY_CODE[item.code]
    return {
        "code": item.code,
        "name": row.name,
        "severity": item.severity.name.lower(),
        "message": item.message,
        **_span(item.span),
        "resource": msgspec.to_builtins(item.resource),
        "related": [_related(other) for other in item.related],
        "help": item.help,
        "url": row.url,
    }


def _related(other: Related) -> dict[str, object]:
    return {"message": other.message, **_span(other.span)}


def _span(span: Span) -> dict[str, object]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
