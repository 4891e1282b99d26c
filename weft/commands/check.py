"""``weft check``."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.findings_cache import FindingsCache
from compiler.fixes import fixed_text
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
from compiler.stamps import Stamps
from compiler.tree import SUFFIXES, JoinedTree, Tree, TreeError
from compiler.worktree import WorkTree
from weft.collecting import no_collection
from weft.help_text import ending

if TYPE_CHECKING:
    from compiler.memory import Memory

DEFAULT_EXPIRY_DAYS = 30
"""How long before its end a certificate is warned of."""


ENDING = ending(
    "weft check",
    "weft check --rev HEAD --format github",
    "weft check mesh --ignore WFT03 --severity warning",
    "weft check --status",
    exits={0: "no error (warnings and notes are none)", 1: "at least one error"},
)


@click.command(epilog=ENDING)
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
@click.option(
    "--expiry-days",
    type=click.IntRange(0, 3650),
    metavar="N",
    help="Fail where a certificate in Git ends within N days; without it, 30 days are a warning.",
)
@click.option("--no-cache", is_flag=True, help="Neither use nor keep what was found before.")
@click.option("--fix", is_flag=True, help="Correct what can only have been meant one way, then check again.")
@click.option("--watch", is_flag=True, help="Check again whenever a file changes, until interrupted.")
@click.option(
    "--status", is_flag=True, help="Print the status that each Gateway API object would get; findings go to stderr."
)
@click.option(
    "-o",
    "status_form",
    type=click.Choice(["text", "yaml", "json"]),
    help="How --status is written; yaml and json are Kubernetes' form.  [default: text]",
)
@click.option(
    "--complete", is_flag=True, help="With --status: Secrets and ConfigMaps that are not in Git do not exist."
)
def command(
    *,
    paths: tuple[str, ...],
    rev: str | None,
    output: str,
    color: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    severity: str,
    expiry_days: int | None,
    no_cache: bool,
    fix: bool,
    watch: bool,
    status: bool,
    status_form: str | None,
    complete: bool,
) -> int:
    """Check mesh YAML: folders or files, or the current folder.

    Every finding is named at its file, line and column. What --select, --ignore and --severity leave out is not counted either;
    publishing refuses errors whatever they say. `weft explain-code CODE` tells more.
    """
    asked = _Asked(paths, rev, output, _colored(color), _selection(select, ignore, severity), expiry_days, not no_cache)
    if (watch or fix) and rev is not None:
        raise click.UsageError("a commit does not change; leave out --rev, or --watch and --fix")
    if status and (watch or output != "text"):
        raise click.UsageError("--status is written once, as -o says; leave out --watch and --format")
    if not status and (status_form or complete):
        raise click.UsageError("-o and --complete belong to --status")
    try:
        if fix:
            _fix(asked)
        if status:
            return _status(asked, status_form or "text", complete=complete)
        return _watch(asked) if watch else _check(asked)
    except TreeError as error:
        raise click.ClickException(str(error)) from None


class _Asked(msgspec.Struct, frozen=True):
    """What one call of the command asks for."""

    paths: tuple[str, ...]
    rev: str | None
    output: str
    color: bool
    shown: Selection
    expiry_days: int | None
    cached: bool


def _check(asked: _Asked, memory: Memory | None = None, stamps: Stamps | None = None) -> int:
    stamps = stamps or (Stamps.of(_first(asked)) if asked.cached else Stamps())
    tree = _tree(asked.paths, asked.rev, stamps)
    with no_collection():
        found = [item for item in _findings(asked, tree, memory) if asked.shown.takes(item)]
    if memory is None:
        stamps.save()
    if not found and not tree.entries():
        where = " ".join(asked.paths) or "this folder"
        click.echo(
            f"there was nothing to check: no {', '.join(SUFFIXES)} file in {where}; `weft init DIR` makes a mesh",
            err=True,
        )
    click.echo(_rendered(found, tree, asked.output, color=asked.color), nl=False, color=True)
    return 1 if any(item.severity is Severity.ERROR for item in found) else 0


def _status(asked: _Asked, form: str, *, complete: bool) -> int:
    """Statuses to standard output, findings to standard error."""
    # A check without --status needs none of it.
    from compiler.pipeline import understand
    from compiler.render.status import render_status
    from compiler.status import statuses

    tree = _tree(asked.paths, asked.rev)
    with no_collection():
        mesh, everything = understand(tree, _dates(asked))
        found = [item for item in everything if asked.shown.takes(item)]
        refused = {item.resource for item in everything if item.severity is Severity.ERROR}
        shown = None if mesh is None else statuses(mesh, complete=complete, refused=refused)
    if shown is not None:
        click.echo(render_status(shown, form, color=asked.color), nl=False, color=True)
    colored = asked.color and sys.stderr.isatty()
    click.echo(_rendered(found, tree, "text", color=colored), nl=False, err=True, color=True)
    if shown is None:
        why = "there is no status before these errors are corrected: nothing can stand in for what they break"
        click.echo(why, err=True)
    return 1 if any(item.severity is Severity.ERROR for item in found) else 0


def _fix(asked: _Asked) -> None:
    """Writes the edits that the findings to be shown propose, and says on standard error what was changed."""
    tree = _tree(asked.paths, None)
    found = [item for item in _findings(asked, tree, None) if asked.shown.takes(item) and item.edit is not None]
    contents = dict((*tree.files(), *tree.guardrails()))
    for file in sorted({item.span.file for item in found}):
        # What is behind a link belongs to another path, which has its own findings.
        if Path(file).is_symlink():
            continue
        content, made = fixed_text(file, contents[file], found)
        try:
            Path(file).write_bytes(content)
        except OSError as error:
            raise click.ClickException(f"cannot write {file}: {error.strerror}") from None
        click.echo(f"{file}: {made} corrected", err=True)


def _findings(asked: _Asked, tree: Tree, memory: Memory | None) -> list[Diagnostic]:
    """What is wrong with a tree, from the cache where the tree was checked before and no date can have changed that."""
    dates = _dates(asked)
    if memory is not None or not asked.cached:
        return _compiler_check(tree, dates, memory)
    path = _first(asked)
    cache = FindingsCache.of(path)
    known = cache.get(tree) if cache else None
    if known is None:
        from compiler.compiler_cache import CompilerCache
        from compiler.memory import Memory  # A warm check needs neither.

        memory = Memory(CompilerCache.of(path))
        known = _compiler_check(tree, dates, memory)
        if cache is not None and not memory.depends_on_date:
            cache.put(tree, known)
    return known


def _dates(asked: _Asked) -> Dates:
    days = DEFAULT_EXPIRY_DAYS if asked.expiry_days is None else asked.expiry_days
    return Dates(datetime.now(UTC), days, fails=asked.expiry_days is not None)


def _compiler_check(tree: Tree, dates: Dates, memory: Memory | None = None) -> list[Diagnostic]:
    from compiler.pipeline import check  # The compiler costs half of a warm check's time, which needs none.

    return check(tree, dates, memory=memory)


def _watch(asked: _Asked) -> int:
    """Checks, and again after every change; what did not change is not read again. Ends with the last result when interrupted."""
    # Most runs check once.
    import watchfiles

    from compiler.memory import Memory

    memory, stamps = Memory(), Stamps()
    code = _check(asked, memory, stamps)
    for _ in watchfiles.watch(*(asked.paths or (".",)), raise_interrupt=False, watch_filter=_is_of_interest):
        click.echo()
        code = _check(asked, memory, stamps)
    return code


def _is_of_interest(_: object, path: str) -> bool:
    """Whether a change of this path can change a check; Git's own files and editors' temporary ones cannot."""
    return path.endswith(SUFFIXES) and "/.git/" not in path


def _first(asked: _Asked) -> Path:
    return Path(asked.paths[0] if asked.paths else ".")


def _tree(paths: tuple[str, ...], rev: str | None, stamps: Stamps | None = None) -> Tree:
    if rev is None:
        trees = [WorkTree(Path(path), shown_as=_prefix(path), stamps=stamps) for path in paths or (".",)]
        return trees[0] if len(trees) == 1 else JoinedTree(trees)
    if len(paths) > 1:
        raise click.UsageError("with --rev give one PATH: the repository, or the folder of it that holds the mesh")
    path = paths[0] if paths else "."
    from compiler.commit_tree import CommitTree  # Most runs check a work tree.

    return CommitTree(Path(path), rev, shown_as=_prefix(path), stamps=stamps)


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
