"""Localities as locality settings name them: ``region``, ``region/zone``, ``region/zone/subzone``, with ``*`` as the last part for any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class BadLocality(NamedTuple):
    """A name that is wrong, by its index, and the index of the earlier one that it overlaps with (None where it is wrong by itself)."""

    at: int
    problem: str
    first: int | None = None


def first_bad(names: Sequence[str]) -> BadLocality | None:
    """The first name that is malformed, or overlaps with one before it: a client's or endpoint's locality may fall under one name only."""
    seen: list[tuple[str, ...]] = []
    for index, name in enumerate(names):
        parts = name.split("/", 2)
        if "*" in name.removesuffix("*"):
            return BadLocality(index, f"`{name}`: `*` stands only once, and at the end")
        if not all(parts):
            return BadLocality(index, f"`{name}` has an empty part")
        prefix = tuple(parts[:-1] if parts[-1] == "*" else parts)
        for first, other in enumerate(seen):
            shared = min(len(prefix), len(other))
            if prefix[:shared] == other[:shared]:
                return BadLocality(index, f"`{name}` overlaps with `{names[first]}`", first)
        seen.append(prefix)
    return None
