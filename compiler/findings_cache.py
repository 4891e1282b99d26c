"""The findings of trees that were checked before, kept on disk by content.

The key is a digest of everything that findings follow from: all files and guardrails with their paths, what the tree refused, weft's own
code, and the versions of the libraries that judge. So an entry is never out of date, only unused. What is read back is taken only if this user
wrote it (compiler/kept.py), and decoded into types, never executed: a damaged or forged entry costs a check, not a wrong answer or worse.
A cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from compiler.diagnostic import Diagnostic
from compiler.judges import judges
from compiler.kept import authenticated, cache_key, opened, write_whole
from compiler.repository import cache_folder
from compiler.tree import Tree, digest_of, digest_of_entries

_PURPOSE = b"findings"
MAX_ENTRIES = 64
"""Trees per folder; the least recently written go first."""


class FindingsCache:
    """Owns one folder of entries, written with one key."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    @classmethod
    def of(cls, path: Path) -> FindingsCache | None:
        """The cache for checks of a path; None where this user has no key."""
        key = cache_key()
        return None if key is None else cls(cache_folder(path) / "findings", key)

    def get(self, tree: Tree) -> list[Diagnostic] | None:
        """The findings of a tree, or None where they are not known."""
        try:
            raw = (self._folder / _key(tree)).read_bytes()
        except OSError:
            return None
        body = opened(self._key, _PURPOSE, raw)
        if body is None:
            return None
        try:
            return msgspec.msgpack.decode(body, type=list[Diagnostic])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def put(self, tree: Tree, found: list[Diagnostic]) -> None:
        """Keeps the findings of a tree, whole or not at all. What can be other findings tomorrow is not for keeping (``Memory.depends_on_date``)."""
        try:
            body = msgspec.msgpack.encode(found)
            write_whole(self._folder / _key(tree), authenticated(self._key, _PURPOSE, body))
            self._make_room()
        except (OSError, UnicodeEncodeError):
            # A full disk, a read-only checkout, a file name that is no text: the next check does the work again.
            return

    def _make_room(self) -> None:
        entries = sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
        for entry in entries[MAX_ENTRIES:]:
            entry.unlink(missing_ok=True)


def _key(tree: Tree) -> str:
    parts = (
        judges(),
        digest_of_entries(tree.entries()),
        digest_of(tree.guardrails()),
        hashlib.sha256(msgspec.msgpack.encode(list(tree.refusals()))).hexdigest(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
