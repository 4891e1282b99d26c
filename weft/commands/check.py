"""``weft check``."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.commit_tree import CommitTree
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.pipeline import check
from compiler.render import (
    Sources,
    render_github,
    render_gitlab,
    render_json,
    render_junit,
    render_sarif,
    render_text,
    summarize,
)
from compiler.selection import Selection, UnknownCodeError, beginnings
from compiler.tree import JoinedTree, Tree, TreeError
from compiler.worktree import WorkTree


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--rev", metavar="REV", help="Check a commit instead of the work tree; PATH is then in its repository.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "sarif", "github", "gitlab", "junit"]),
    default="text",
    show_default=True,
    help="How findings are written.",
)
@click.option(
    "--expiry-days",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Fail where a certificate in Git ends within so many days; without it 30 days are a warning.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Whether text is coloured; auto is on a terminal, unless NO_COLOR is set.",
)
@click.option(
    "--select", metavar="CODES", multiple=True, help="Show these alone: codes or their beginnings (IST,WFT01)."
)
@click.option(
    "--ignore", metavar="CODES", multiple=True, help="Leave these out; the longest beginning that fits decides."
)
@click.option(
    "--severity",
    type=click.Choice(["error", "warning", "note"]),
    default="note",
    show_default=True,
    help="The lightest findings to show.",
)
def command(
    paths: tuple[str, ...],
    rev: str | None,
    output: str,
    color: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    severity: str,
    expiry_days: int | None,
) -> int:
    """Check mesh YAML: folders or files, or the current folder.

    What --select, --ignore and --severity leave out is not counted either; publishing refuses errors whatever they say.

    Exits 0 where there is no error (warnings and notes are no errors), 1 where there is one, 2 where the check could not run.
    """
    shown = _selection(select, ignore, severity)
    try:
        tree = _tree(paths, rev)
        with _no_collection():
            found = [item for item in check(tree, _dates(expiry_days)) if shown.takes(item)]
    except TreeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(_rendered(found, tree, output, color=_colored(color)), nl=False, color=True)
    return 1 if any(item.severity is Severity.ERROR for item in found) else 0


def _dates(expiry_days: int | None) -> Dates:
    now = datetime.now(UTC)
    return Dates(now) if expiry_days is None else Dates(now, expiry_days, fails=True)


@contextmanager
def _no_collection() -> Iterator[None]:
    """What a check makes lives until it ends, so looking for cycles costs a third of the time and frees nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _tree(paths: tuple[str, ...], rev: str | None) -> Tree:
    if rev is None:
        trees = [WorkTree(Path(path), shown_as=_prefix(path)) for path in paths or (".",)]
        return trees[0] if len(trees) == 1 else JoinedTree(trees)
    if len(paths) > 1:
        raise click.UsageError("with --rev give one PATH: the repository, or the folder of it that holds the mesh")
    path = paths[0] if paths else "."
    return CommitTree(Path(path), rev, shown_as=_prefix(path))


def _prefix(path: str) -> str:
    """What goes before the files' paths, so that positions are right where the user stands."""
    shown = Path(path).as_posix()
    return "" if shown == "." else shown


def _selection(select: tuple[str, ...], ignore: tuple[str, ...], severity: str) -> Selection:
    try:
        return Selection(beginnings(",".join(select)), beginnings(",".join(ignore)), Severity[severity.upper()])
    except UnknownCodeError as error:
        raise click.UsageError(str(error)) from None


def _rendered(found: list[Diagnostic], tree: Tree, output: str, *, color: bool) -> str:
    match output:
        case "json":
            return render_json(found)
        case "sarif":
            return render_sarif(found)
        case "github":
            return render_github(found)
        case "gitlab":
            return render_gitlab(found)
        case "junit":
            return render_junit(found, Sources(tree).files())
    sources = Sources(tree)
    return f"{render_text(found, sources, color=color)}{summarize(found, len(sources))}\n"


def _colored(choice: str) -> bool:
    """https://no-color.org: any value that is not empty."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
