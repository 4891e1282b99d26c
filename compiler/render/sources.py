"""The lines of a tree's files, for quoting them."""

from __future__ import annotations

from compiler.text import lines
from compiler.tree import Tree


class Sources:
    """Quotes lines of a tree. Owns the split text of each file that was asked for; bytes that are not UTF-8 are shown as U+FFFD."""

    def __init__(self, tree: Tree) -> None:
        self._contents = dict((*tree.files(), *tree.guardrails()))
        self._lines: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._contents)

    def files(self) -> tuple[str, ...]:
        """The paths of all files, sorted."""
        return tuple(sorted(self._contents))

    def line(self, file: str, number: int) -> str | None:
        """One line (counted from 1) without its break; None where there is no such file or line."""
        if file not in self._lines:
            self._lines[file] = lines(self._contents.get(file, b"").decode("utf-8-sig", "replace"))
        held = self._lines[file]
        return held[number - 1] if 0 < number <= len(held) else None
