"""Slices of which only the positions have changed: a comment moves what follows it, and nothing that runs.

Link never looks at where something stands (a test reads its code for that), so slices whose documents say what they said before need not be
linked again: their sections are the same, and of their provenance only the rows of files that changed are looked up anew.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import msgspec

from compiler.encode import EncodedSlices
from policies.source import Position, SourceRef
from snapshot.encode import decode, digest, encode
from snapshot.index import PartRef, ProvenanceRow, SectionRef, SliceEntry, SliceIndex, SlicePart

LITTLE = 1000
"""Documents in the scopes concerned up to which linking is quicker than reading what was kept of them."""


class Mover:
    """Moves the slices of several scopes. Owns the provenance tables that they share.

    ``changed`` are the files that are not what they were when the slices were encoded; ``positions`` are today's.
    """

    def __init__(self, positions: Mapping[SourceRef, Position], changed: Container[str]) -> None:
        self._positions = positions
        self._changed = changed
        self._tables: dict[str, bytes] = {}

    def moved(self, encoded: EncodedSlices) -> EncodedSlices:
        """Slices with today's positions; raises KeyError where a blob is lost."""
        blobs = _Moved(encoded.blobs)
        parts: dict[str, PartRef] = {}
        entries = tuple(self._entry(entry, blobs, parts) for entry in encoded.entries)
        return EncodedSlices(entries, blobs if blobs.is_lazy else dict(blobs))

    def _entry(self, entry: SliceEntry, blobs: _Moved, parts: dict[str, PartRef]) -> SliceEntry:
        index = decode(blobs.before(entry.index), SliceIndex)
        for part in index.parts:
            if part.digest not in parts:
                sections = self._sections(decode(blobs.before(part.digest), SlicePart).sections, blobs)
                parts[part.digest] = PartRef(blobs.put(encode(SlicePart(sections))), part.behaviour)
        sections = self._sections(index.sections, blobs)
        name = blobs.put(encode(SliceIndex(sections, tuple(parts[part.digest] for part in index.parts))))
        return msgspec.structs.replace(entry, index=name)

    def _sections(self, sections: tuple[SectionRef, ...], blobs: _Moved) -> tuple[SectionRef, ...]:
        return tuple(self._section(ref, blobs) for ref in sections)

    def _section(self, ref: SectionRef, blobs: _Moved) -> SectionRef:
        blobs.keep(ref.behaviour)
        if not ref.provenance:
            return ref
        raw = self._tables.get(ref.provenance)
        if raw is None:
            raw = self._tables[ref.provenance] = self._table(blobs.before(ref.provenance))
        name = blobs.put(raw)
        return ref if name == ref.provenance else msgspec.structs.replace(ref, provenance=name)

    def _table(self, raw: bytes) -> bytes:
        rows = decode(raw, tuple[ProvenanceRow, ...])
        if not any(row.position.file in self._changed for row in rows):
            return raw
        return encode(tuple(ProvenanceRow(row.source, self._place(row)) for row in rows))

    def _place(self, row: ProvenanceRow) -> Position:
        return self._positions[row.source] if row.position.file in self._changed else row.position


class _Moved(Mapping[str, bytes]):
    """The blobs of moved slices: some made now, the others as they were, which are read when they are asked for where they are on disk."""

    def __init__(self, old: Mapping[str, bytes]) -> None:
        self._old = old
        self._held: dict[str, bytes | None] = {}

    @property
    def is_lazy(self) -> bool:
        """Whether looking at all of them would read a disk."""
        return not isinstance(self._old, dict)

    @property
    def made(self) -> dict[str, bytes]:
        """Those that were not there before."""
        return {name: raw for name, raw in self._held.items() if raw is not None and name not in self._old}

    def before(self, name: str) -> bytes:
        """A blob of the slices as they were."""
        return self._old[name]

    def keep(self, name: str) -> None:
        """Takes over a blob as it was."""
        self._held.setdefault(name, None)

    def put(self, raw: bytes) -> str:
        """Takes in a blob, which may be as it was; returns its name."""
        name = digest(raw)
        self._held[name] = raw
        return name

    def __getitem__(self, name: str) -> bytes:
        raw = self._held[name]
        return self._old[name] if raw is None else raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def made_in(encoded: EncodedSlices) -> Mapping[str, bytes]:
    """The blobs of slices that are not kept yet."""
    return encoded.blobs.made if isinstance(encoded.blobs, _Moved) else encoded.blobs
