"""The findings of trees that were checked before, kept on disk by content.

The key is a digest of everything that findings follow from: all files and guardrails with their paths, what the tree refused, weft's own
code, and the versions of the libraries that judge. So an entry is never out of date, only unused. What is read back is taken only if its
own digest agrees, and decoded into types, never executed: a damaged or forged entry costs a check, not a wrong answer or worse.
A cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

from compiler.diagnostic import Diagnostic
from compiler.repository import find_repository
from compiler.tree import Tree, digest_of

_FORMAT = b"weft findings 1\n"
_JUDGES = ("common-expression-language", "google-re2", "jsonschema-rs", "msgspec", "pyyaml")
_CODE = ("compiler", "snapshot", "policies")
_DIGEST_BYTES = 32
MAX_ENTRIES = 64
"""Trees per folder; the least recently written go first."""


class FindingsCache:
    """Owns one folder of entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, tree: Tree) -> list[Diagnostic] | None:
        """The findings of a tree, or None where they are not known."""
        try:
            raw = (self._folder / _key(tree)).read_bytes()
        except OSError:
            return None
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if hashlib.sha256(_FORMAT + body).digest() != digest:
            return None
        try:
            return msgspec.msgpack.decode(body, type=list[Diagnostic])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def put(self, tree: Tree, found: list[Diagnostic]) -> None:
        """Keeps the findings of a tree, whole or not at all."""
        try:
            body = msgspec.msgpack.encode(found)
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="new-", delete=False) as file:
                file.write(hashlib.sha256(_FORMAT + body).digest() + body)
            Path(file.name).replace(self._folder / _key(tree))
            self._make_room()
        except (OSError, UnicodeEncodeError):
            # A full disk, a read-only checkout, a file name that is no text: the next check does the work again.
            return

    def _make_room(self) -> None:
        entries = sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
        for entry in entries[MAX_ENTRIES:]:
            entry.unlink(missing_ok=True)


def depends_on_date(tree: Tree) -> bool:
    """Whether the findings can be others tomorrow: there may be a certificate, whose end comes near. Such a tree is not for keeping."""
    return any(b"Secret" in content for _, content in tree.files())


def cache_folder(path: Path) -> Path:
    """Where a path's findings are kept: below its repository's own folder, else the user's cache."""
    repository = find_repository(path)
    if repository is not None:
        return Path(repository.path) / "weft"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "weft"


def _key(tree: Tree) -> str:
    parts = (
        _judges(),
        digest_of(tree.files()),
        digest_of(tree.guardrails()),
        hashlib.sha256(msgspec.msgpack.encode(list(tree.refusals()))).hexdigest(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _judges() -> str:
    """A digest of the code that finds, so that another weft has other entries."""
    top = Path(__file__).parents[1]
    whole = hashlib.sha256(repr((sys.version_info, [version(name) for name in _JUDGES])).encode())
    for package in _CODE:
        for path in sorted((top / package).rglob("*")):
            if path.suffix in {".py", ".json"}:
                whole.update(str(path.relative_to(top)).encode())
                whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
