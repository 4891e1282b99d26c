"""Slices to bytes: canonical sections, their digests and provenance, and the two levels of index that pin them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from compiler.link.draft import LinkedSlice
from compiler.resources.cursor import Positions
from policies.source import SourceRef
from snapshot.encode import FEATURES, FORMAT, digest, encode
from snapshot.index import (
    ProvenanceRow,
    SectionRef,
    SliceEntry,
    SliceIndex,
    Snapshot,
    SnapshotIndex,
    behaviour_digest,
)
from snapshot.section import Section, section_key


def encode_snapshot(slices: Iterable[LinkedSlice], tree_digest: str, positions: Positions) -> Snapshot:
    """The snapshot of all slices. Equal sections are one blob; the same tree gives the same bytes on every machine."""
    store = _Blobs(positions)
    entries = tuple(sorted((_entry(item, store) for item in slices), key=lambda entry: entry.name))
    index = SnapshotIndex(format=FORMAT, features=tuple(sorted(FEATURES)), tree=tree_digest, slices=entries)
    return Snapshot(index, store.blobs)


def _entry(item: LinkedSlice, store: _Blobs) -> SliceEntry:
    refs = sorted((store.section(section) for section in item.sections), key=lambda ref: (ref.kind, ref.name))
    return SliceEntry(
        name=item.shape.name,
        proxy=item.shape.proxy,
        namespace=item.shape.namespace,
        labels=item.shape.labels,
        index=store.put(encode(SliceIndex(tuple(refs)))),
        behaviour=behaviour_digest(refs),
    )


class _Blobs:
    """Owns the blobs. Sections that several slices share are one object, so each object is encoded once."""

    def __init__(self, positions: Positions) -> None:
        self.blobs: dict[str, bytes] = {}
        self._positions = positions
        self._known: dict[int, tuple[Section, SectionRef]] = {}

    def put(self, raw: bytes) -> str:
        name = digest(raw)
        self.blobs[name] = raw
        return name

    def section(self, section: Section) -> SectionRef:
        known = self._known.get(id(section))
        if known is not None:
            return known[1]
        kind, name = section_key(section)
        raw = encode(section)
        rows = self._provenance(section)
        ref = SectionRef(kind, name, self.put(raw), len(raw), self.put(encode(rows)) if rows else "")
        # The section itself is kept, so that its id stays its own.
        self._known[id(section)] = (section, ref)
        return ref

    def _provenance(self, section: Section) -> tuple[ProvenanceRow, ...]:
        sources = sorted(set(_sources(section)))
        return tuple(ProvenanceRow(source, self._positions[source]) for source in sources if source in self._positions)


def _sources(value: object) -> Iterable[SourceRef]:
    """Every SourceRef inside a section, found by walking its fields."""
    if isinstance(value, SourceRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _sources(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from _sources(item)
