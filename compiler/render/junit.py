"""Diagnostics as a JUnit report, for CI systems that show nothing else.

A file without an error is a test that passed, so that a clean mesh is not an empty report; an error is a test that failed. Warnings and
notes stand in the output of a test that passed, because they are no reason to fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from compiler.catalog import BY_CODE
from compiler.diagnostic import Diagnostic, Severity

# XML 1.0, section 2.2: what no escape can bring into a document.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(found: Iterable[Diagnostic], files: Iterable[str]) -> str:
    """One suite with a test per finding, and one per file in which there is none."""
    items = list(found)
    clean = [file for file in files if file not in {item.span.file for item in items}]
    failures = sum(item.severity is Severity.ERROR for item in items)
    counts = f'tests="{len(items) + len(clean)}" failures="{failures}" errors="0"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {counts}>",
        f'  <testsuite name="weft check" {counts}>',
        *(f"    <testcase classname={_quoted(file)} name={_quoted('check')}/>" for file in clean),
        *(line for item in items for line in _case(item)),
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(item: Diagnostic) -> Iterator[str]:
    span = item.span
    title = f"{item.code} {BY_CODE[item.code].name} at {span.line}:{span.column}"
    yield f'    <testcase classname={_quoted(span.file)} name={_quoted(title)} file={_quoted(span.file)} line="{span.line}">'
    place = f"{span.file}:{span.line}:{span.column}"
    text = "\n".join(part for part in (place, str(item.resource or ""), item.message, item.help) if part)
    if item.severity is Severity.ERROR:
        yield f"      <failure type={_quoted(item.code)} message={_quoted(item.message)}>{_text(text)}</failure>"
    else:
        yield f"      <system-out>{_text(f'{item.severity.name.lower()}: {text}')}</system-out>"
    yield "    </testcase>"


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))


def _quoted(text: str) -> str:
    return quoteattr(_FORBIDDEN.sub("\ufffd", text))
