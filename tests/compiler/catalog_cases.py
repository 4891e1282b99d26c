"""The good and the bad case of each code of the catalog: ``catalog/<CODE>/good`` and ``bad``, a mesh repository each, and what the bad one shows.

``bad.txt`` is every finding of the bad case: where it starts and ends, then the text that a user reads.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from compiler.catalog import CATALOG
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic
from compiler.pipeline import check
from compiler.render import Sources, render_text
from compiler.tree import MAX_FILE_BYTES, Tree
from compiler.worktree import WorkTree

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The day on which the certificates of the cases are looked at: one ended the day before, one ends after 20 days, others after 90."""

FOLDER = Path(__file__).with_name("catalog")
CODES = tuple(row.code for row in CATALOG)


def case(code: str, verdict: str, copy: Path) -> Tree:
    """A case's tree; ``copy`` is an empty folder for a case that Git cannot hold as it is."""
    make = MADE.get((code, verdict))
    if make is None:
        return WorkTree(FOLDER / code / verdict)
    make(copy)
    return WorkTree(copy)


def findings(tree: Tree) -> list[Diagnostic]:
    """What checking finds on the day for which the cases' certificates were made."""
    return check(tree, Dates(NOW))


def golden(tree: Tree) -> str:
    """All findings of a tree as text, each below the place that it spans."""
    sources = Sources(tree)
    return "".join(f"{_place(item)}\n{render_text([item], sources)}" for item in findings(tree))


def example(code: str) -> str:
    """The golden's findings of one code, as users see them."""
    paragraphs = (FOLDER / code / "bad.txt").read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    shown = [paragraph.partition("\n")[2] for paragraph in paragraphs]
    return next(text for text in shown if f"[{code}]" in text.partition("\n")[0])


def _place(item: Diagnostic) -> str:
    span = item.span
    return f"@ {span.file}:{span.line}:{span.column}-{span.end_line}:{span.end_column}"


def _too_large(folder: Path) -> None:
    (folder / "dump.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))


def _with_submodule(folder: Path) -> None:
    (folder / "shared" / ".git").mkdir(parents=True)
    (folder / "shared" / "mesh.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shared}\n")


MADE: dict[tuple[str, str], Callable[[Path], None]] = {
    ("WFT0004", "bad"): _too_large,
    ("WFT0008", "bad"): _with_submodule,
}
"""Cases that are made where they are needed: a file of 16 MiB, and a repository inside this one."""
