"""One code of the catalog, explained to somebody at a terminal."""

from __future__ import annotations

import difflib

from compiler.catalog import BY_CODE, CATALOG
from compiler.code import Code


def explain(code: str) -> str | None:
    """What a code (or the name of one) means, as a short text; None where the catalog has neither."""
    row = BY_CODE.get(code.upper()) or next((row for row in CATALOG if row.name.lower() == code.lower()), None)
    return None if row is None else _text(row)


def similar(code: str) -> tuple[str, ...]:
    """The codes or names that were probably meant."""
    known = {text.lower(): text for row in CATALOG for text in (row.code, row.name)}
    return tuple(known[close] for close in difflib.get_close_matches(code.lower(), known, n=3))


def _text(row: Code) -> str:
    lines = [f"{row.code} {row.name} ({row.severity.name.lower()})", "", row.summary]
    if row.help:
        lines += ["", f"What to do: {row.help}"]
    if row.code.startswith("IST"):
        lines += ["", "Istio's analyzer has this code for the same condition."]
    return "\n".join([*lines, "", f"More: {row.url}", ""])
