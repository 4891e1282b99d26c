"""The same commit is the same digest on every machine; a comment moves positions and nothing that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def compiled(folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "weft", "compile", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout


def test_two_clones_in_other_places_under_other_settings_compile_to_one_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "another place" / "second"
    shutil.copytree(EXAMPLE, first)
    git(first, "init", "-q")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "mesh")
    second.parent.mkdir()
    git(tmp_path, "clone", "-q", str(first), str(second))
    digests = {
        compiled(first, PYTHONHASHSEED="1", LC_ALL="C", TZ="UTC"),
        compiled(second, PYTHONHASHSEED="2", LC_ALL="C.UTF-8", TZ="Asia/Tokyo"),
        compiled(second, PYTHONHASHSEED="3", LC_ALL="POSIX", TZ="America/New_York"),
    }
    assert len(digests) == 1
    (digest,) = digests
    assert len(digest.strip()) == 64


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
