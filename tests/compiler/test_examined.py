"""What is kept between checks, in memory and on disk, and that it never answers for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, ResourceId, Span
from compiler.examined import ExaminedFile, examine
from compiler.findings_cache import MAX_ENTRIES, FindingsCache
from compiler.guardrails import Guards
from compiler.memory import Memory
from compiler.pipeline import check
from compiler.tree import MemoryTree

KEY = b"k" * 32
GOOD = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
BAD = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: b, lables: {a: b}}\n"
GUARDRAIL = (
    b"apiVersion: weft/v1\nkind: Guardrail\nmetadata: {name: g}\nspec: {message: never, rules: [{cel: 'false'}]}\n"
)


def test_only_files_that_changed_are_examined_again() -> None:
    seen: list[str] = []

    def counted(file: str, content: bytes, guards: Guards) -> ExaminedFile:
        seen.append(file)
        return examine(file, content, guards)

    memory = Memory()
    for files in ({"a.yaml": GOOD, "b.yaml": BAD}, {"a.yaml": GOOD, "b.yaml": GOOD}, {"a.yaml": GOOD, "c.yaml": BAD}):
        memory.survey(MemoryTree(files), Guards(()), examine=counted)
    assert seen == ["a.yaml", "b.yaml", "b.yaml", "c.yaml"]


@pytest.mark.parametrize(
    "states",
    [
        [{"a.yaml": GOOD, "b.yaml": BAD}, {"a.yaml": GOOD}, {"a.yaml": GOOD, "b.yaml": GOOD}],
        [{"a.yaml": GOOD}, {"a.yaml": GOOD, "guardrails/g.yaml": GUARDRAIL}, {"a.yaml": GOOD}],
    ],
)
def test_a_check_with_memory_finds_what_one_without_finds(states: list[dict[str, bytes]]) -> None:
    memory = Memory()
    for files in states:
        assert check(MemoryTree(files), memory=memory) == check(MemoryTree(files))


FOUND = [
    diagnostic(
        "WFT0002",
        "twice",
        Span("a.yaml", 1, 2, 3, 4),
        resource=ResourceId("Service", "a", "b"),
        related=(Related(Span("b.yaml", 1, 1, 1, 2), "first"),),
    )
]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_findings_come_back_as_they_were(tmp_path: Path) -> None:
    cache, tree = FindingsCache(tmp_path / "c", KEY), MemoryTree({"a.yaml": GOOD})
    assert cache.get(tree) is None
    cache.put(tree, FOUND)
    assert cache.get(tree) == FOUND


@pytest.mark.parametrize(
    "other",
    [
        {"a.yaml": BAD},
        {"b.yaml": GOOD},
        {"a.yaml": GOOD, "b.yaml": b""},
        {"a.yaml": GOOD, "guardrails/g.yaml": GUARDRAIL},
    ],
)
def test_another_tree_has_another_entry(tmp_path: Path, other: dict[str, bytes]) -> None:
    cache = FindingsCache(tmp_path, KEY)
    cache.put(MemoryTree({"a.yaml": GOOD}), FOUND)
    assert cache.get(MemoryTree(other)) is None


@pytest.mark.parametrize("keep", [0, 10, 32, 40, -1])
def test_a_damaged_entry_is_as_good_as_none(tmp_path: Path, keep: int) -> None:
    cache, tree = FindingsCache(tmp_path, KEY), MemoryTree({"a.yaml": GOOD})
    cache.put(tree, FOUND)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:keep])
    assert cache.get(tree) is None
    raw = bytearray(entry.read_bytes() or b"x")
    raw[-1] ^= 1
    entry.write_bytes(raw)
    assert cache.get(tree) is None


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache, tree = FindingsCache(tmp_path / "file" / "c", KEY), MemoryTree({"a.yaml": GOOD})
    cache.put(tree, FOUND)
    assert cache.get(tree) is None


def test_the_folder_does_not_grow_for_ever(tmp_path: Path) -> None:
    cache = FindingsCache(tmp_path, KEY)
    none: list[Diagnostic] = []
    for number in range(MAX_ENTRIES + 3):
        cache.put(MemoryTree({f"{number}.yaml": b""}), none)
    assert len(entries(tmp_path)) == MAX_ENTRIES


def test_a_tree_that_may_hold_certificates_is_not_for_keeping() -> None:
    memory = Memory()
    check(MemoryTree({"a.yaml": b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"}), memory=memory)
    assert memory.depends_on_date
    check(MemoryTree({"a.yaml": GOOD}), memory=memory)
    assert not memory.depends_on_date
