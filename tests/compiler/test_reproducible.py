"""The same commit is the same digest on every machine; a comment moves positions and nothing that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree

EXAMPLE = Path(__file__).parents[2] / "examples" / "bookshop" / "mesh"


def git(folder: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    }
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


ONCE = """\
import os, random, sys
from pathlib import Path
from compiler.commit_tree import CommitTree
from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree

listed, order = os.scandir, random.Random(int(sys.argv[2]))

def scandir(path):
    entries = list(listed(path))
    order.shuffle(entries)
    return iter(entries)

os.scandir = scandir
for tree in (CommitTree(Path(sys.argv[1])), WorkTree(Path(sys.argv[1]))):
    print(compile_tree(tree).snapshot.digest)
"""
"""Compiles a checkout's commit and its work tree, whose folders list their files in an order of their own."""

SETTINGS = [
    {"PYTHONHASHSEED": str(number * 977), "TZ": zone, "LC_ALL": locale}
    for number, (zone, locale) in enumerate(
        [
            ("UTC", "C"),
            ("Asia/Tokyo", "C.UTF-8"),
            ("America/New_York", "POSIX"),
            ("Pacific/Chatham", "C"),
            ("EST", "en_US"),
        ]
    )
]


@pytest.mark.integration
def test_twenty_compilations_of_a_commit_under_other_settings_in_other_places_are_one_digest(tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(EXAMPLE, first)
    git(first, "init", "-q")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "mesh")
    clones = [first, *(tmp_path / name for name in ("another place", "\u00fcber/tief/unten", "z"))]
    for clone in clones[1:]:
        clone.parent.mkdir(exist_ok=True, parents=True)
        git(tmp_path, "clone", "-q", str(first), str(clone))
    found = set()
    for settings in SETTINGS:
        found |= {output.result() for output in _at_once(clones, settings)}
    assert len(found) == 1
    (digests,) = found
    assert [len(digest) for digest in digests.split()] == [64, 64]


def _at_once(clones: list[Path], settings: dict[str, str]) -> list[Future[str]]:
    """Compiles every clone under the same settings, each in a process of its own."""
    with ThreadPoolExecutor(len(clones)) as pool:
        return [pool.submit(_compiled, clone, order, settings) for order, clone in enumerate(clones)]


def _compiled(clone: Path, order: int, settings: dict[str, str]) -> str:
    command = [sys.executable, "-c", ONCE, str(clone), str(order)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **settings}).stdout


def test_comments_and_the_order_of_files_change_no_behaviour() -> None:
    files = {str(path.relative_to(EXAMPLE)): path.read_bytes() for path in EXAMPLE.rglob("*.yaml")}
    commented = {path: b"# a comment\n\n" + content for path, content in files.items()}
    renamed = {f"z{9 - index}/{path}": content for index, (path, content) in enumerate(files.items())}
    plain, *others = (compile_tree(MemoryTree(tree)).snapshot for tree in (files, commented, renamed))
    assert plain is not None
    for other in others:
        assert other is not None
        assert other.digest != plain.digest
        assert {entry.name: entry.behaviour for entry in other.index.slices} == {
            entry.name: entry.behaviour for entry in plain.index.slices
        }
