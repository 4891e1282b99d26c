"""Slices to bytes: canonical sections, their digests and provenance, and the two levels of index that pin them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import Any, ForwardRef, TypeVar, get_args, get_type_hints

import msgspec

from compiler.link.draft import LinkedPart, LinkedSlice
from policies.source import Position, SourceRef
from snapshot.encode import FEATURES, FORMAT, digest, encode
from snapshot.index import (
    PartRef,
    ProvenanceRow,
    SectionRef,
    SliceEntry,
    SliceIndex,
    SlicePart,
    Snapshot,
    SnapshotIndex,
    behaviour_digest,
)
from snapshot.section import Section, section_key


class EncodedSlices(msgspec.Struct, frozen=True):
    """Slices as bytes: their entries for the snapshot's index, and every blob that those reach, by digest."""

    entries: tuple[SliceEntry, ...]
    blobs: Mapping[str, bytes]


def encode_snapshot(encoded: Iterable[EncodedSlices], tree_digest: str) -> Snapshot:
    """The snapshot of all slices. Equal sections are one blob; the same tree gives the same bytes on every machine."""
    parts = tuple(encoded)
    entries = sorted((entry for part in parts for entry in part.entries), key=lambda entry: entry.name)
    index = SnapshotIndex(format=FORMAT, features=tuple(sorted(FEATURES)), tree=tree_digest, slices=tuple(entries))
    return Snapshot(index, _JoinedBlobs(parts))


class _JoinedBlobs(Mapping[str, bytes]):
    """The blobs of several EncodedSlices. Who asks for none, because the digest is all that was wanted, pays for none."""

    def __init__(self, parts: tuple[EncodedSlices, ...]) -> None:
        self._parts = parts

    @cached_property
    def _holders(self) -> dict[str, Mapping[str, bytes]]:
        return {name: part.blobs for part in self._parts for name in part.blobs}

    def __getitem__(self, name: str) -> bytes:
        return self._holders[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._holders)

    def __len__(self) -> int:
        return len(self._holders)


def encode_slices(
    slices: Iterable[LinkedSlice], positions: Mapping[SourceRef, Position], provenance: dict[bytes, bytes] | None = None
) -> EncodedSlices:
    """Slices to bytes. A part that several of them share is one blob, encoded once.

    ``provenance`` keeps the tables of equal sections from one call to the next, as long as ``positions`` are the same.
    """
    store = _Blobs(positions, {} if provenance is None else provenance)
    return EncodedSlices(tuple(_entry(item, store) for item in slices), store.blobs)


def _entry(item: LinkedSlice, store: _Blobs) -> SliceEntry:
    refs = store.sections(item.sections)
    parts = (store.part(item.part),) if item.part else ()
    return SliceEntry(
        name=item.shape.name,
        proxy=item.shape.proxy,
        namespace=item.shape.namespace,
        labels=item.shape.labels,
        index=store.put(encode(SliceIndex(refs, parts))),
        behaviour=behaviour_digest(refs, parts),
    )


class _Blobs:
    """Owns the blobs. Parts that several slices share are one object, so each is encoded once."""

    def __init__(self, positions: Mapping[SourceRef, Position], provenance: dict[bytes, bytes]) -> None:
        self.blobs: dict[str, bytes] = {}
        self._provenance_of = provenance
        self._positions = positions
        self._parts: dict[int, PartRef] = {}

    def put(self, raw: bytes) -> str:
        name = digest(raw)
        self.blobs[name] = raw
        return name

    def part(self, part: LinkedPart) -> PartRef:
        known = self._parts.get(id(part))
        if known is None:
            refs = self.sections(part.sections.values())
            known = PartRef(self.put(encode(SlicePart(refs))), behaviour_digest(refs))
            self._parts[id(part)] = known
        return known

    def sections(self, sections: Iterable[Section]) -> tuple[SectionRef, ...]:
        """The references to sections, in the order that they are in."""
        return tuple(self._section(section) for section in sections)

    def _section(self, section: Section) -> SectionRef:
        kind, name = section_key(section)
        raw = encode(section)
        table = self._provenance_of.get(raw)
        if table is None:
            # Finding the sources of a section costs more than encoding it, and namespaces that see the same services have equal sections.
            rows = self._provenance(section)
            table = self._provenance_of[raw] = encode(rows) if rows else b""
        return SectionRef(kind, name, self.put(raw), len(raw), self.put(table) if table else "")

    def _provenance(self, section: Section) -> tuple[ProvenanceRow, ...]:
        sources = sorted(set(_sources(section)))
        places = ((source, self._positions.get(source)) for source in sources)
        return tuple(ProvenanceRow(source, place) for source, place in places if place is not None)


def _sources(value: object) -> Iterable[SourceRef]:
    """Every SourceRef inside a section, found by walking its fields."""
    if isinstance(value, SourceRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in _leading(type(value)):
            yield from _sources(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from _sources(item)


@cache
def _leading(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a struct in which a SourceRef can stand: most are texts and numbers, and sections have many."""
    hints = get_type_hints(kind)
    return tuple(field for field in kind.__struct_fields__ if _can_hold(hints[field], frozenset({kind})))


def _can_hold(hint: Any, passed: frozenset[type]) -> bool:
    """Whether a value of an annotation can hold a SourceRef; ``passed`` are the structs on the way, which say nothing new of themselves."""
    if hint in (SourceRef, Any, object) or isinstance(hint, str | ForwardRef | TypeVar):
        return True
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        inner = get_type_hints(hint).values() if hint not in passed else ()
        return any(_can_hold(found, passed | {hint}) for found in inner)
    return any(_can_hold(found, passed) for found in get_args(hint))
