"""Every source that a section names is in its provenance, wherever in the section it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from compiler.encode import encode_slices
from compiler.guardrails import Guards
from compiler.inventory import Inventory, PositionsOf
from compiler.link import Scopes, link
from compiler.memory import Memory
from compiler.worktree import WorkTree
from policies.source import SourceRef
from snapshot.encode import decode, decode_section
from snapshot.index import ProvenanceRow, SliceIndex, joined

EXAMPLES = Path(__file__).parents[2] / "examples"


def everything(value: object) -> Iterator[SourceRef]:
    """The sources inside a value, looked for everywhere."""
    if isinstance(value, SourceRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from everything(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from everything(item)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_a_section_has_the_position_of_every_source_that_it_names(name: str) -> None:
    inventory = Inventory(Memory().survey(WorkTree(EXAMPLES / name), Guards(())))
    positions = PositionsOf(inventory)
    seen = 0
    for scope in Scopes(inventory).all():
        encoded = encode_slices(link(scope), positions)
        for entry in encoded.entries:
            for ref in joined(decode(encoded.blobs[entry.index], SliceIndex), encoded.blobs).sections:
                named = set(everything(decode_section(encoded.blobs[ref.behaviour]))) & set(positions)
                rows = decode(encoded.blobs[ref.provenance], tuple[ProvenanceRow, ...]) if ref.provenance else ()
                assert {row.source for row in rows} == named
                seen += len(named)
    assert seen
