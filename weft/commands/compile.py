"""``weft compile``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from compiler.commit_tree import CommitTree
from compiler.compiler_cache import CompilerCache
from compiler.diagnostic import Severity
from compiler.memory import Memory
from compiler.nothing import nothing_to_run
from compiler.pipeline import Compilation, compile_tree
from compiler.render import Sources, render_text, summarize
from compiler.stamps import Stamps
from compiler.tree import Tree, TreeError
from compiler.worktree import WorkTree
from snapshot.encode import encode
from snapshot.index import Snapshot
from weft.collecting import no_collection
from weft.help_text import ending

ENDING = ending(
    "weft compile",
    "weft compile --worktree --out build/snapshot",
    exits={
        0: "there is a snapshot",
        1: "findings forbid one",
        2: "the tree cannot be read or DIR not be written",
    },
)


@click.command(epilog=ENDING)
@click.argument("repo", default=".", metavar="[REPO]")
@click.option("--rev", metavar="REV", help="The commit to compile; HEAD where not given.")
@click.option("--worktree", is_flag=True, help="Compile the files as they are, committed or not.")
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Compile although something is invalid (it fails at run time) or not carried yet.",
)
@click.option("--allow-empty", is_flag=True, help="Compile although no proxy would find anything to run.")
@click.option(
    "--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write the snapshot there."
)
@click.option("--no-cache", is_flag=True, help="Neither use nor keep what was compiled before.")
def command(
    repo: str,
    rev: str | None,
    *,
    worktree: bool,
    allow_partial: bool,
    allow_empty: bool,
    out: Path | None,
    no_cache: bool,
) -> int:
    """Compile a commit of REPO (or its work tree) and print the snapshot's digest.

    The digest stands alone on standard output; errors and warnings go to standard error, where notes are only counted.
    With --out, DIR gets index.msgpack and blobs/<sha256>.
    The same commit gives the same digest everywhere. What did not change since the last compilation is taken from this user's cache;
    `weft publish` uses none.
    """
    if worktree and rev is not None:
        raise click.UsageError("--worktree compiles files that are in no commit; leave out --rev or --worktree")
    try:
        stamps = Stamps() if no_cache else Stamps.of(Path(repo))
        tree = _tree(Path(repo), None if worktree else rev or "HEAD", stamps)
        memory = Memory(None if no_cache else CompilerCache.of(Path(repo)))
        with no_collection():
            compilation = compile_tree(tree, allow_partial=allow_partial, memory=memory)
        stamps.save()
    except TreeError as error:
        raise click.ClickException(str(error)) from None
    _report(compilation, tree)
    if compilation.snapshot is None:
        return 1
    if (why := nothing_to_run(compilation.snapshot, Path(repo))) and not allow_empty:
        raise click.ClickException(why)
    if out is not None:
        try:
            write_snapshot(compilation.snapshot, out)
        except OSError as error:
            raise click.ClickException(f"cannot write the snapshot to {out}: {error.strerror}") from None
    click.echo(compilation.snapshot.digest)
    return 0


def _tree(repo: Path, rev: str | None, stamps: Stamps) -> Tree:
    return WorkTree(repo, stamps=stamps) if rev is None else CommitTree(repo, rev, stamps=stamps)


def write_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Writes ``index.msgpack`` and ``blobs/<sha256>``, the index last; raises OSError. Blobs that are there already are left alone."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for name, raw in snapshot.blobs.items():
        if not (blobs / name).exists():
            (blobs / name).write_bytes(raw)
    (folder / "index.msgpack").write_bytes(encode(snapshot.index))


def _report(compilation: Compilation, tree: Tree) -> None:
    if not compilation.diagnostics:
        return
    sources = Sources(tree)
    color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    told = [item for item in compilation.diagnostics if item.severity > Severity.NOTE]
    summary = summarize(compilation.diagnostics, len(sources))
    click.echo(f"{render_text(told, sources, color=color)}{summary}", err=True, color=color)
