"""What only moves is not linked again, and stands where it stands now."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import compiler.link
from compiler.compiler_cache import CompilerCache
from compiler.encode import EncodedSlices, encode_slices
from compiler.guardrails import Guards
from compiler.inventory import Inventory, PositionsOf
from compiler.kept import Kept
from compiler.link import Scope, Scopes, link
from compiler.memory import Memory
from compiler.tree import MemoryTree
from snapshot.encode import decode
from snapshot.index import ProvenanceRow, SliceIndex, joined

KEY = b"k" * 32
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: app, image: app}]}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
"""
FILES = {
    "shop.yaml": WORKLOAD.replace("NAMESPACE", "shop"),
    "pay.yaml": WORKLOAD.replace("NAMESPACE", "pay"),
    "service.yaml": SERVICE,
}


class Compiling:
    """Compiles states of a tree. Owns a memory, and the names of the namespaces that were linked."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.linked: list[str] = []

    def compiled(self, files: dict[str, str]) -> list[EncodedSlices]:
        self.linked.clear()
        tree = MemoryTree({name: text.encode() for name, text in files.items()})
        inventory = Inventory(self.memory.survey(tree, Guards(())))
        positions = PositionsOf(inventory)

        def encoded(scope: Scope) -> EncodedSlices:
            self.linked.append(scope.namespace)
            return encode_slices(link(scope), positions)

        found = self.memory.slices(list(Scopes(inventory).all()), encoded, positions)
        self.memory.save()
        return [EncodedSlices(item.entries, dict(item.blobs)) for item in found]


def cached(folder: Path) -> Compiling:
    return Compiling(Memory(CompilerCache(lambda name: Kept(folder / name, KEY)), little=0))


COMMENTED = FILES | {"service.yaml": f"# Why this is here.\n\n{SERVICE}"}
RENAMED = {name: text for name, text in FILES.items() if name != "service.yaml"} | {"services.yaml": SERVICE}
CHANGED = FILES | {"service.yaml": SERVICE.replace("port: 80", "port: 81")}


@pytest.mark.parametrize(("files", "linked"), [(COMMENTED, []), (RENAMED, []), (CHANGED, ["pay", "shop"])])
def test_a_comment_links_nothing_again(files: dict[str, str], linked: list[str], tmp_path: Path) -> None:
    full = Compiling(Memory()).compiled(files)
    held = Compiling(Memory(little=0))
    held.compiled(FILES)
    assert held.compiled(files) == full
    assert held.linked == linked
    cached(tmp_path).compiled(FILES)
    again = cached(tmp_path)
    assert again.compiled(files) == full
    assert again.linked == linked


def test_what_moves_and_moves_back_and_changes_is_never_what_it_was(tmp_path: Path) -> None:
    held = Compiling(Memory(little=0))
    for files in (FILES, COMMENTED, RENAMED, FILES, CHANGED, COMMENTED):
        full = Compiling(Memory()).compiled(files)
        assert held.compiled(files) == full
        assert cached(tmp_path).compiled(files) == full


def test_rows_of_moved_files_have_their_new_lines_and_the_others_their_old(tmp_path: Path) -> None:
    before, after = (lines(Compiling(Memory()).compiled(files)) for files in (FILES, COMMENTED))
    assert {file for file, _ in before} == {"service.yaml"}
    assert after == {(file, line + 2) for file, line in before}
    moved = cached(tmp_path)
    moved.compiled(FILES)
    assert lines(moved.compiled(COMMENTED)) == after


def test_slices_whose_blobs_are_lost_are_linked_again(tmp_path: Path) -> None:
    cached(tmp_path).compiled(FILES)
    for file in (tmp_path / "blobs").iterdir():
        file.unlink()
    again = cached(tmp_path)
    assert again.compiled(COMMENTED) == Compiling(Memory()).compiled(COMMENTED)
    assert again.linked == ["pay", "shop"]


def test_of_few_documents_linking_is_preferred() -> None:
    held = Compiling(Memory())
    held.compiled(FILES)
    held.compiled(COMMENTED)
    assert held.linked == ["pay", "shop"]


def test_link_looks_at_no_position() -> None:
    (folder,) = compiler.link.__path__
    read: dict[str, Any] = {
        f"{path.name}:{node.lineno}": node.attr
        for path in Path(folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"span", "key_spans", "positions"}
    }
    assert read == {}


def lines(found: list[EncodedSlices]) -> set[tuple[str, int]]:
    """File and line of everything that the slices name."""
    places = set()
    for encoded in found:
        for entry in encoded.entries:
            for ref in joined(decode(encoded.blobs[entry.index], SliceIndex), encoded.blobs).sections:
                rows = decode(encoded.blobs[ref.provenance], tuple[ProvenanceRow, ...]) if ref.provenance else ()
                places |= {(row.position.file, row.position.line) for row in rows}
    return places
