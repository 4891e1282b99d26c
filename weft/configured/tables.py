"""Rows as an aligned table, JSON or YAML. A table is as wide as its cells: nothing is cut, so that names can be copied."""

from __future__ import annotations

import json
from collections.abc import Sequence

from weft.configured.rows import Plain, Row

GAP = 5


def table(titles: Sequence[str], rows: Sequence[Row], *, keep_order: bool = False) -> str:
    """The table; rows in the order of their cells, ports by number, or as they come."""
    ordered = (
        rows
        if keep_order
        else sorted(rows, key=lambda row: [(int(cell) if cell.isdigit() else -1, cell) for cell in row.cells])
    )
    cells = [tuple(titles), *(row.cells for row in ordered)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    lines = ((cell.ljust(width + GAP) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "".join(f"{''.join(line).rstrip()}\n" for line in lines)


def resources(rows: Sequence[Row], form: str) -> str:
    """The resources behind the rows, each once, as ``json`` or ``yaml``."""
    once: list[Plain] = []
    for row in rows:
        if not any(row.resource is one for one in once):
            once.append(row.resource)
    return written(once, form)


def written(value: object, form: str) -> str:
    """Plain data as ``json`` or ``yaml``."""
    if form == "json":
        return json.dumps(value, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, width=120)
    return text
