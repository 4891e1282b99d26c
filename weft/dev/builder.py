"""From the work tree to a release: what ``weft compile --worktree`` and ``weft publish`` do, in one process and with throw-away keys.

Everything here blocks; the session calls it in threads, one call at a time.
"""

from __future__ import annotations

import importlib.metadata
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from compiler.diagnostic import Severity
from compiler.memory import Memory
from compiler.pipeline import compile_tree
from compiler.render import Sources, render_text, summarize
from compiler.stamps import Stamps
from compiler.tree import TreeError
from compiler.worktree import WorkTree
from snapshot.index import Snapshot
from snapshot.store_directory import DirectoryStore
from snapshot.trust.keys import SigningKeys, create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from snapshot.trust.publisher import publish, read_published
from snapshot.trust.release import Release
from weft.collecting import no_collection

CHANNEL = "stable"


class Build(msgspec.Struct, frozen=True):
    """What the work tree came to: a snapshot, None where an error forbids one; the findings in words; and their sum in one line."""

    snapshot: Snapshot | None
    findings: str
    summary: str


class Builder:
    """Owns a store and its keys below ``folder``, both made here and known to nobody else."""

    def __init__(self, mesh: Path, folder: Path, *, allow_partial: bool) -> None:
        self._mesh = mesh
        self._memory = Memory()
        self._stamps = Stamps()
        self._stored: frozenset[str] = frozenset()
        self._allow_partial = allow_partial
        self.store = DirectoryStore(folder / "store")
        (folder / "root.json").write_bytes(create_keys(folder / "keys", now=datetime.now(UTC)))
        self._keys: SigningKeys = load_keys(folder / "keys", PUBLISHER_ROLES)

    def build(self) -> Build:
        """Compiles the files as they are now."""
        try:
            tree = WorkTree(self._mesh, shown_as=_shown(self._mesh), stamps=self._stamps)
            with no_collection():
                compilation = compile_tree(tree, allow_partial=self._allow_partial, memory=self._memory)
        except TreeError as error:
            return Build(None, f"{error}\n", "the work tree cannot be read")
        sources = Sources(tree)
        told = [found for found in compilation.diagnostics if found.severity > Severity.NOTE]
        return Build(compilation.snapshot, render_text(told, sources), summarize(compilation.diagnostics, len(sources)))

    def publish(self, snapshot: Snapshot) -> Release:
        """Makes a snapshot the store's newest release. Raises StoreError, e.g. where the disk is full."""
        published = read_published(self.store, self._keys.root, CHANNEL)
        now = datetime.now(UTC)
        draft = Release(
            channel=CHANNEL,
            commit="",
            snapshot=snapshot.digest,
            tree=snapshot.index.tree,
            compiler=importlib.metadata.version("weft"),
            time=int(now.timestamp()),
            note="weft dev",
        )
        # Nobody else writes here, so what one release brought needs no look for the next.
        fresh = {name: raw for name, raw in snapshot.blobs.items() if name not in self._stored}
        release = publish(self.store, self._keys, draft, Snapshot(snapshot.index, fresh), published=published, now=now)
        self._stored |= fresh.keys()
        return release


def _shown(mesh: Path) -> str:
    """What goes before the files' paths, so that positions are right where the user stands."""
    shown = os.path.relpath(mesh)
    return "" if shown == "." else shown
