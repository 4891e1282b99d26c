"""The mesh repositories that the compiler is measured on: of the size that they say, and sound."""

from __future__ import annotations

from pathlib import Path

from benchmarks.repositories import service_file, write_repository
from compiler.diagnostic import Severity
from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree


def test_a_repository_has_three_resources_per_service_and_compiles(tmp_path: Path) -> None:
    assert write_repository(tmp_path, 20) == 60
    assert service_file(tmp_path, 19).exists()
    compilation = compile_tree(WorkTree(tmp_path))
    assert compilation.snapshot is not None
    assert len(compilation.snapshot.index.slices) == 20
    assert all(item.severity is Severity.NOTE for item in compilation.diagnostics)


def test_the_same_size_is_the_same_repository(tmp_path: Path) -> None:
    write_repository(tmp_path / "a", 20)
    write_repository(tmp_path / "b", 20)
    assert WorkTree(tmp_path / "a").digest == WorkTree(tmp_path / "b").digest
