"""Waivers: a comment in a configuration file that takes back one finding of a line, with a reason that its reader can judge.

    host: "*"  # weft: ignore[WFT0301] the public landing page takes every host

A waiver at the end of a line is about that line; on a line of its own it is about the next one that says anything. Warnings and notes can be
waived, and what guardrails find. Errors of the mesh itself cannot: they stand for what a proxy could not do.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import yaml

from compiler.carried import NOT_CARRIED
from compiler.catalog import BY_CODE, diagnostic
from compiler.diagnostic import Diagnostic, Edit, Severity, Span
from compiler.guardrail_codes import GUARDRAIL_BROKEN, GUARDRAIL_CODES, WAIVER_INVALID, WAIVER_UNUSED
from compiler.text import lines

_MARK = b"weft: ignore"
_WAIVER = re.compile(r"(?:^|(?<=\s))#\s*weft: ignore(?:\[([^\]]*)\])?[ \t]*(.*)")


class Waiver(msgspec.Struct, frozen=True):
    """One comment: the codes as written, the reason, where it stands, and the line (from 1) that it is about."""

    codes: tuple[str, ...]
    reason: str
    span: Span
    line: int


MAX_WAIVERS = 1000


def waivers_of(file: str, content: bytes) -> list[Waiver]:
    """The waivers of one file, at most MAX_WAIVERS: those after them do not hold. A text that only looks like one (inside a string) is none."""
    if _MARK not in content:
        return []
    rows = lines(content.decode("utf-8-sig", "replace"))
    found = [(number, match) for number, row in enumerate(rows) if (match := _WAIVER.search(row))]
    inside = _scalar_places("\n".join(rows))
    starts = [start for start, _ in inside]
    following = _following(rows) if found else []
    waivers = []
    for number, match in found[:MAX_WAIVERS]:
        before = bisect.bisect_right(starts, (number, match.start())) - 1
        if before < 0 or (number, match.start()) >= inside[before][1]:
            waivers.append(_waiver(file, rows, number, match, following))
    return waivers


def waive(found: Iterable[Diagnostic], waivers: Iterable[Waiver], *, complete: bool) -> list[Diagnostic]:
    """The findings without those that a waiver takes back, and what is wrong with the waivers.

    Only where ``complete`` says that nothing was left unchecked can a waiver be unused.
    """
    by_place: dict[tuple[str, int, str], set[tuple[Waiver, str]]] = {}
    complaints: list[Diagnostic] = []
    pending: set[tuple[Waiver, str]] = set()
    for waiver in waivers:
        problem = _problem(waiver)
        if problem:
            complaints.append(diagnostic(WAIVER_INVALID, problem, waiver.span))
            continue
        for code in waiver.codes:
            pending.add((waiver, code))
            by_place.setdefault((waiver.span.file, waiver.line, code), set()).add((waiver, code))
    kept = []
    for item in found:
        used = by_place.get((item.span.file, item.span.line, item.code)) if _can_be_waived(item) else None
        if used is None:
            kept.append(item)
        else:
            pending -= used
    unused = (_unused(waiver, code) for waiver, code in (pending if complete else ()))
    return [*kept, *complaints, *unused]


def _unused(waiver: Waiver, code: str) -> Diagnostic:
    found = diagnostic(WAIVER_UNUSED, f"nothing on line {waiver.line} has the code {code}", waiver.span)
    # Of several codes another may be used.
    return msgspec.structs.replace(found, edit=Edit(waiver.span, "") if len(waiver.codes) == 1 else None)


def _can_be_waived(item: Diagnostic) -> bool:
    if item.code == GUARDRAIL_BROKEN:
        return True
    # What is not carried is a warning here and forbids publishing, whatever a comment says.
    return item.severity < Severity.ERROR and item.code != NOT_CARRIED


def _problem(waiver: Waiver) -> str:
    if not waiver.codes:
        return "a waiver names the codes that it takes back, in brackets"
    unknown = next((code for code in waiver.codes if code not in BY_CODE), None)
    if unknown is not None:
        return f"there is no code {unknown}"
    own = {row.code for row in GUARDRAIL_CODES} - {GUARDRAIL_BROKEN}
    fixed = next((code for code in waiver.codes if code in own or code == NOT_CARRIED), None)
    if fixed is not None:
        return f"{fixed} cannot be waived"
    return "" if waiver.reason else "a waiver gives its reason after the brackets"


def _following(rows: list[str]) -> list[int]:
    """For each row the next one after it that says anything, or itself where none does."""
    found = list(range(len(rows)))
    for number in range(len(rows) - 2, -1, -1):
        later = number + 1
        if _says_anything(rows[later]):
            found[number] = later
        elif found[later] != later:
            found[number] = found[later]
    return found


def _waiver(file: str, rows: list[str], number: int, match: re.Match[str], following: list[int]) -> Waiver:
    about = number if rows[number][: match.start()].strip() else following[number]
    codes = tuple(part.strip() for part in (match[1] or "").split(",") if part.strip())
    end = len(rows[number].rstrip())
    span = Span(file, number + 1, match.start() + 1, number + 1, end + 1)
    return Waiver(codes=codes, reason=match[2].strip(), span=span, line=about + 1)


def _says_anything(row: str) -> bool:
    text = row.strip()
    return bool(text) and not text.startswith("#")


def _scalar_places(text: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the scalars of a text that could hold a ``#`` stand (from 0), up to where the text stops being YAML."""
    return list(_scalars(text))


def _scalars(text: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    parser = yaml.CLoader(text)
    try:
        while parser.check_event():
            event: Any = parser.get_event()
            if isinstance(event, yaml.ScalarEvent) and "weft: ignore" in event.value:
                start: Any = event.start_mark
                end: Any = event.end_mark
                yield (start.line, start.column), (end.line, end.column)
    except yaml.YAMLError:
        # What is no YAML has findings of its own, and its waivers stand.
        return
    finally:
        parser.dispose()
