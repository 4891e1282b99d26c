"""The lines of a tree's files, for quoting them."""

from __future__ import annotations

from functools import partial

from compiler.text import lines
from compiler.tree import Tree, TreeError


class Sources:
    """Quotes lines of a tree. Owns the split text of each file that was asked for; bytes that are not UTF-8 are shown as U+FFFD."""

    def __init__(self, tree: Tree) -> None:
        self._contents = {entry.path: entry.read for entry in tree.entries()}
        self._contents |= {path: partial(bytes, content) for path, content in tree.guardrails()}
        self._lines: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._contents)

    def files(self) -> tuple[str, ...]:
        """The paths of all files, sorted."""
        return tuple(sorted(self._contents))

    def line(self, file: str, number: int) -> str | None:
        """One line (counted from 1) without its break; None where there is no such file or line, or not any more."""
        if file not in self._lines:
            self._lines[file] = lines(self._content(file).decode("utf-8-sig", "replace"))
        held = self._lines[file]
        return held[number - 1] if 0 < number <= len(held) else None

    def _content(self, file: str) -> bytes:
        try:
            return self._contents[file]() if file in self._contents else b""
        except TreeError:
            # It was changed while its findings were being written.
            return b""
