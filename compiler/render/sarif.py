"""Diagnostics as SARIF 2.1.0, which code scanners of all code hosts take in.

The format: docs.oasis-open.org/sarif/sarif/v2.1.0. Columns count code points, as ours do; paths are relative to the repository's top.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from urllib.parse import quote

from compiler.catalog import BY_CODE
from compiler.code import Code
from compiler.diagnostic import Diagnostic, Related, Severity, Span
from compiler.render.fingerprints import fingerprinted
from compiler.render.json_text import json_text

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_ROOT = "SRCROOT"


def render_sarif(found: Iterable[Diagnostic]) -> str:
    """One run, with a rule per code that was found and a result per finding."""
    items = list(found)
    codes = sorted({item.code for item in items})
    run = {
        "tool": {
            "driver": {
                "name": "weft",
                "semanticVersion": version("weft"),
                "rules": [_rule(BY_CODE[code]) for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The top of the repository."}}},
        "results": [_result(item, codes.index(item.code), print_) for item, print_ in fingerprinted(items)],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json_text(log)


def _rule(row: Code) -> dict[str, object]:
    rule: dict[str, object] = {
        "id": row.code,
        "name": row.name,
        "shortDescription": {"text": row.summary},
        "defaultConfiguration": {"level": _LEVELS[row.severity]},
    }
    if row.help:
        rule["help"] = {"text": row.help}
    return rule


def _result(item: Diagnostic, rule: int, fingerprint: str) -> dict[str, object]:
    location: dict[str, object] = {"physicalLocation": _physical(item.span)}
    if item.resource is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": str(item.resource), "kind": "resource"}]
    result: dict[str, object] = {
        "ruleId": item.code,
        "ruleIndex": rule,
        "level": _LEVELS[item.severity],
        "message": {"text": f"{item.message}. {item.help}" if item.help else item.message},
        "locations": [location],
        "partialFingerprints": {"weft/v1": fingerprint},
    }
    if item.related:
        result["relatedLocations"] = [_related(number, other) for number, other in enumerate(item.related)]
    return result


def _related(number: int, other: Related) -> dict[str, object]:
    return {"id": number, "physicalLocation": _physical(other.span), "message": {"text": other.message}}


def _physical(span: Span) -> dict[str, object]:
    # A name that is no UTF-8 is quoted byte by byte.
    uri = quote(span.file.encode("utf-8", "surrogateescape"))
    return {
        "artifactLocation": {"uri": uri, "uriBaseId": _ROOT},
        "region": {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": span.end_line,
            "endColumn": span.end_column,
        },
    }
