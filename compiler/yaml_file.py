"""One file's text -> its YAML documents as positioned nodes.

libyaml cannot go on after a syntax error, so reading resumes at the next line that starts a document (``---``): one broken document
does not hide the mistakes of the others. JSON is read as the YAML that it is.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import yaml

from compiler.catalog import diagnostic
from compiler.composer import MAX_FINDINGS, Composer, Place, RefusedError
from compiler.diagnostic import Diagnostic, Related
from compiler.node import Node
from compiler.text import line_at, line_starts

MAX_FAULTS = 20
"""After so many broken documents the rest of a file is not read; each costs a fresh start of the parser."""

_DOCUMENT_START = re.compile(r"---(?:[ \t\r\n]|\Z)")


class YamlFile(NamedTuple):
    """What one file holds: the root of each document that could be read, and what was wrong with the rest."""

    roots: list[Node]
    diagnostics: list[Diagnostic]


def read_yaml(file: str, text: str, *, place: Place | None = None) -> YamlFile:
    """Reads all documents of a text; mistakes are diagnostics, never exceptions. ``place`` says where in the file the text starts."""
    place = Place(file) if place is None else place
    roots: list[Node] = []
    found: list[Diagnostic] = []
    starts: list[int] | None = None
    skipped = nodes = 0
    for _ in range(MAX_FAULTS):
        composer = Composer(place.below(skipped), nodes)
        fault = _run(composer, text if starts is None else text[starts[skipped] :])
        roots += composer.roots
        found += composer.diagnostics
        if fault is None:
            break
        nodes = composer.nodes
        starts = line_starts(text) if starts is None else starts
        # What is wrong may be noticed only at the line that starts the next document.
        resumed = _next_document(text, starts, skipped + max(fault, 1))
        if resumed is None:
            break
        skipped = resumed
    return YamlFile(roots, found[:MAX_FINDINGS])


def _run(composer: Composer, text: str) -> int | None:
    """Feeds the composer until the end (None) or a fault, whose line in the text (from 0) it returns; one that ends the file counts as the end."""
    # Only the loader's events are used: its composer is the recursive one.
    parser = yaml.CLoader(text)
    event: Any = None
    try:
        while parser.check_event():
            event = parser.get_event()
            composer.feed(event)
    except RefusedError as refused:
        line, column = event.start_mark.line, event.start_mark.column
        advice = _advice(text, line, column)
        found = refused.found if advice is None else msgspec.structs.replace(refused.found, help=advice)
        composer.diagnostics.append(found)
        return None if refused.whole_file else int(line)
    except yaml.reader.ReaderError:
        # A file's text was looked through before; what is unfolded from a quoted scalar may still hold control characters.
        message = "the text holds control characters, which YAML forbids"
        composer.diagnostics.append(diagnostic("WFT0003", message, composer.place.span(0, 0, 0, 1)))
        return None
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        composer.diagnostics.append(_syntax_fault(composer.place, text, error, line, column))
        return line
    finally:
        parser.dispose()
    return None


def _next_document(text: str, starts: list[int], from_line: int) -> int | None:
    for line in range(from_line, len(starts)):
        if _DOCUMENT_START.match(text, starts[line]):
            return line
    return None


def _syntax_fault(place: Place, text: str, error: yaml.MarkedYAMLError, line: int, column: int) -> Diagnostic:
    message = error.problem or "the text is not YAML"
    if error.context:
        message = f"{message}, {error.context}"
    start: Any = error.context_mark
    related: tuple[Related, ...] = ()
    if start is not None and (start.line, start.column) < (line, column):
        began = place.span(start.line, start.column, start.line, start.column + 1)
        related = (Related(began, "what is not ended starts here"),)
    at = place.span(line, column, line, column + 1)
    return diagnostic("WFT0001", message, at, related=related, help=_advice(text, line, column))


def _advice(text: str, line: int, column: int) -> str | None:
    row = line_at(text, line) or ""
    if row[column : column + 1] == "\t":
        return "Indent with spaces; YAML does not allow tabs there."
    if "{{" in row:
        return "This looks like a template: render it first (for example with `helm template`) and commit the result."
    return None
