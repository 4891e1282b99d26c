"""The same tree is the same bytes, whatever the machine; what does not run does not change what runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from compiler.diagnostic import Severity
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.encode import decode, decode_section, encode
from snapshot.index import ProvenanceRow, SliceIndex, Snapshot, SnapshotIndex, joined

EXAMPLE = Path(__file__).parents[2] / "examples" / "bookshop" / "mesh"


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(EXAMPLE.glob("*.yaml"))}


def snapshot(tree: dict[str, bytes]) -> Snapshot:
    result = compile_tree(MemoryTree(tree))
    assert result.snapshot is not None, result.diagnostics
    return result.snapshot


def behaviours(found: Snapshot) -> dict[str, str]:
    return {entry.name: entry.behaviour for entry in found.index.slices}


def test_the_example_compiles_without_a_warning() -> None:
    found = compile_tree(MemoryTree(files())).diagnostics
    # Its gateway has no Service, which is fine outside of Kubernetes and worth a note.
    assert {(item.code, item.severity) for item in found} <= {("IST0162", Severity.NOTE)}


def test_the_order_of_files_changes_nothing() -> None:
    first = snapshot(files())
    renamed = {f"{99 - number:02}.yaml": content for number, content in enumerate(files().values())}
    assert behaviours(snapshot(renamed)) == behaviours(first)


def test_a_comment_changes_provenance_and_no_behaviour() -> None:
    first = snapshot(files())
    commented = {name: b"# A line that moves everything below it.\n" + content for name, content in files().items()}
    second = snapshot(commented)
    assert behaviours(second) == behaviours(first)
    assert second.digest != first.digest


def test_a_changed_weight_changes_only_the_slices_that_it_concerns() -> None:
    first = behaviours(snapshot(files()))
    changed = {name: content.replace(b"weight: 100", b"weight: 99") for name, content in files().items()}
    if changed == files():
        changed = {name: content.replace(b"timeout: 10s", b"timeout: 11s") for name, content in files().items()}
    second = behaviours(snapshot(changed))
    assert set(first) == set(second)
    assert 0 < sum(first[name] != second[name] for name in first) < len(first)


def test_every_blob_is_named_by_its_digest_and_every_blob_is_reached() -> None:
    found = snapshot(files())
    assert all(hashlib.sha256(raw).hexdigest() == name for name, raw in found.blobs.items())
    assert decode(encode(found.index), SnapshotIndex) == found.index


def test_every_source_of_every_section_has_its_place() -> None:
    found = snapshot(files())
    for entry in found.index.slices:
        for ref in joined(decode(found.blobs[entry.index], SliceIndex), found.blobs).sections:
            section = msgspec.to_builtins(decode_section(found.blobs[ref.behaviour]))
            rows = decode(found.blobs[ref.provenance], tuple[ProvenanceRow, ...]) if ref.provenance else ()
            named = {tuple(value) for value in sources(section)}
            assert named == {(row.source.kind, row.source.namespace, row.source.name, row.source.path) for row in rows}


def sources(value: object) -> Iterator[list[str]]:
    """Sources are the only lists of four texts under keys of these names."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "source":
                yield item
            elif key == "sources" and all(isinstance(part, list | tuple) and len(part) == 4 for part in item):
                yield from item
            else:
                yield from sources(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from sources(item)
