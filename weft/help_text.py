"""How the help of every command ends: commands to copy, and what the exit codes mean. ``weft.commands_page`` prints the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping

_DONE = "done"
_COULD_NOT = "could not run; one sentence says why and what to do"


def ending(*examples: str, exits: Mapping[int | str, str] | None = None) -> str:
    """The epilog of a command: its examples, then its exit codes.

    ``exits`` says what a code means; without it 0 is "done" and 2 "could not run". Lines are not wrapped, so none is longer than 76 characters.
    """
    meanings: dict[int | str, str] = {0: _DONE, 2: _COULD_NOT, **(exits or {})}
    codes = [f"  {code:<4} {meaning}" for code, meaning in sorted(meanings.items(), key=lambda row: _rank(row[0]))]
    # click leaves a paragraph as it is where it starts with this sign.
    return "\n\n".join(
        "\n".join(("\b", *lines))
        for lines in (("Examples:", *(f"  {line}" for line in examples)), ("Exit codes:", *codes))
    )


def _rank(code: int | str) -> int:
    """Numbers in their order, then what has no number of its own."""
    return code if isinstance(code, int) else sys.maxsize
