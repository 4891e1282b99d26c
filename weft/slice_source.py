"""The options by which a command finds one proxy's slice: compiled from a repository, or read from a store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from snapshot.encode import FormatError
from snapshot.index import Slice, SliceEntry, Snapshot, SnapshotIndex, assemble
from snapshot.store import StoreError


def slice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """REPO with --rev, or --store with --root and --channel; and --proxy. The command gets the slice as ``found``."""

    @click.argument("repo", default=".", metavar="[REPO]")
    @click.option("--rev", metavar="REV", help="Compile this commit instead of the files as they are.")
    @click.option("--allow-partial", is_flag=True, help="Leave out what this version of weft does not carry yet.")
    @click.option("--store", metavar="PATH|URL", help="Read the published snapshot of a store instead of compiling.")
    @click.option("--root", metavar="FILE", type=click.Path(path_type=Path), help="The store's pinned root.json.")
    @click.option("--channel", metavar="NAME", default="stable", show_default=True, help="The channel of releases.")
    @click.option(
        "--proxy", "name", metavar="NAME", required=True, help="The slice: sidecar/NAMESPACE/WORKLOAD or gateway/NAME."
    )
    @functools.wraps(command)
    def found_first(
        *,
        repo: str,
        rev: str | None,
        allow_partial: bool,
        store: str | None,
        root: Path | None,
        channel: str,
        name: str,
        **rest: object,
    ) -> Any:
        if store is None:
            found = _compiled(repo, rev, name, allow_partial=allow_partial)
        elif root is None:
            raise click.UsageError("--store needs --root, the pinned root.json that `weft keys init` made")
        else:
            found = _published(store, root, channel, name)
        return command(found=found, **rest)

    return found_first


def _compiled(repo: str, rev: str | None, name: str, *, allow_partial: bool) -> Slice:
    from compiler.commit_tree import CommitTree
    from compiler.diagnostic import Severity
    from compiler.pipeline import compile_tree
    from compiler.tree import TreeError
    from compiler.worktree import WorkTree

    try:
        tree = CommitTree(Path(repo), rev) if rev is not None else WorkTree(Path(repo))
        compilation = compile_tree(tree, allow_partial=allow_partial)
    except TreeError as error:
        raise click.ClickException(str(error)) from None
    snapshot = compilation.snapshot
    if snapshot is None:
        errors = [one for one in compilation.diagnostics if one.severity is Severity.ERROR]
        raise click.ClickException(f"{repo} does not compile ({len(errors)} errors); `weft check {repo}` shows them")
    return of_snapshot(snapshot, name)


def of_snapshot(snapshot: Snapshot, name: str) -> Slice:
    """The slice of this name; raises ClickException that lists those there are."""
    return assemble(snapshot.digest, _entry(snapshot.index, name), snapshot.blobs)


def _entry(index: SnapshotIndex, name: str) -> SliceEntry:
    for entry in index.slices:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in index.slices) or "none"
    raise click.ClickException(f"there is no slice {name!r}; there are: {names}")


def _published(location: str, root: Path, channel: str, name: str) -> Slice:
    from compiler.publish import require_release
    from snapshot.blobs import read_blob
    from snapshot.encode import decode
    from snapshot.index import SliceIndex, decode_index, pinned_index, slice_blobs
    from snapshot.stores import open_store
    from snapshot.trust.failure import Untrusted
    from snapshot.trust.publisher import read_published

    try:
        store = open_store(location)
        release = require_release(read_published(store, root.read_bytes(), channel), channel)
        entry = _entry(decode_index(read_blob(store, release.snapshot)), name)
        blobs = {entry.index: read_blob(store, entry.index)}
        for part in decode(blobs[entry.index], SliceIndex).parts:
            blobs[part.digest] = read_blob(store, part.digest)
        for digest in slice_blobs(pinned_index(entry, blobs)):
            blobs[digest] = read_blob(store, digest)
        return assemble(release.snapshot, entry, blobs)
    except Untrusted as error:
        raise click.ClickException(f"not authentic ({error.reason}): {error}") from None
    except (StoreError, FormatError, OSError) as error:
        raise click.ClickException(str(error)) from None
