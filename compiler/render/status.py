"""Statuses of Gateway API objects: a table for people, or Kubernetes' own form for programs.

In the table a condition that is as it should be is a word; one that is not says why on a line of its own. Conditions that are only good
when they do not hold are left out unless they hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from compiler.render.text import Piece, cells, colored, printable
from compiler.resources.cursor import Labels
from compiler.status import Condition, ObjectStatus, shape

_GOOD, _DOUBTFUL, _BAD, _FAINT, _PLAIN, _STRONG = "green", "yellow", "bold red", "blue", "", "bold"
_UNWANTED = frozenset({"Conflicted", "PartiallyInvalid", "InsecureFrontendValidationMode"})
"""Conditions that nobody wants to hold."""


class _Row(msgspec.Struct, frozen=True):
    """One line of the table, and the conditions that explain themselves below it."""

    name: str
    routes: str
    where: str
    conditions: tuple[Condition, ...]


def render_status(found: Sequence[ObjectStatus], form: str, *, color: bool = False) -> str:
    """All statuses as ``text``, ``yaml`` or ``json``; the latter two are a Kubernetes List."""
    if form == "text":
        pieces = list(_table([row for status in found for row in _rows(status)]))
        return colored(pieces) if color else "".join(text for text, _ in pieces)
    document = {"apiVersion": "v1", "kind": "List", "items": [shape(status) for status in found]}
    if form == "json":
        return json.dumps(document, indent=2) + "\n"
    import yaml  # Neither the table nor JSON needs it.

    written: str = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=1000)
    return written


def _rows(status: ObjectStatus) -> Iterator[_Row]:
    meta = status.meta
    name = f"{status.kind} {meta.namespace}/{meta.name}" if meta.namespace else f"{status.kind} {meta.name}"
    entries = (*(status.parents or ()), *(status.ancestors or ()))
    served = status.conditions is not None or bool(entries)
    note = "" if served else "  (no parent that weft serves)"
    yield _Row(f"{name}{note}", "", f"{meta.span.file}:{meta.span.line}", status.conditions or ())
    for item in status.listeners or ():
        yield _Row(f"  listener {item.name}", str(item.attached), "", item.conditions)
    for entry in entries:
        yield _Row(f"  {_parent(entry.reference, meta.namespace)}", "", "", entry.conditions)


def _parent(reference: Labels, namespace: str) -> str:
    fields = dict(reference)
    owner = fields.get("namespace", namespace)
    text = f"{fields.get('kind', 'Gateway')} {owner}/{fields['name']}"
    text += f" {fields['sectionName']}" if "sectionName" in fields else ""
    return text + (f":{fields['port']}" if "port" in fields else "")


def _table(rows: list[_Row]) -> Iterator[Piece]:
    if not rows:
        yield "no Gateway API object that weft serves\n", _PLAIN
        return
    header = ("OBJECT", "ROUTES", "WHERE")
    fields = [(row.name, row.routes, row.where) for row in rows]
    widths = [max(cells(printable(line[column])) for line in (header, *fields)) for column in range(len(header))]
    yield f"{_line(header, widths)}CONDITIONS\n", _STRONG
    for row, line in zip(rows, fields, strict=True):
        conditions = list(_conditions(row.conditions))
        yield (_line(line, widths) if conditions else _line(line, widths).rstrip()), _PLAIN
        yield from conditions
        yield "\n", _PLAIN
        yield from _reasons(row.conditions)


def _line(fields: Sequence[str], widths: list[int]) -> str:
    text = ""
    for column, (field, width) in enumerate(zip(fields, widths, strict=True)):
        shown = printable(field)
        pad = " " * (width - cells(shown))
        # Numbers stand to the right.
        text += f"{pad}{shown}  " if column == 1 else f"{shown}{pad}  "
    return text


def _reasons(conditions: tuple[Condition, ...]) -> Iterator[Piece]:
    """A line for each message of a condition that is not as it should be; conditions that say the same share one."""
    messages: dict[str, list[str]] = {}
    for condition in conditions:
        if _is_shown(condition) and _style(condition) != _GOOD:
            messages.setdefault(condition.message, []).append(condition.type)
    for message, types in messages.items():
        yield f"      {', '.join(types)}: {printable(message)}\n", _FAINT


def _conditions(conditions: tuple[Condition, ...]) -> Iterator[Piece]:
    shown = [condition for condition in conditions if _is_shown(condition)]
    for place, condition in enumerate(shown):
        yield (", " if place else ""), _PLAIN
        plain = condition.holds and condition.reason == condition.type
        text = condition.type if condition.holds else f"not {condition.type}"
        yield text if plain else f"{text} ({condition.reason})", _style(condition)


def _is_shown(condition: Condition) -> bool:
    return condition.holds or condition.type not in _UNWANTED


def _style(condition: Condition) -> str:
    if not condition.holds:
        return _BAD
    return _GOOD if condition.reason == condition.type and condition.type not in _UNWANTED else _DOUBTFUL
