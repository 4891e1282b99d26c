"""What a snapshot is made of: one index that pins slices, each slice's index that pins sections. All are blobs named by sha256.

    SnapshotIndex -> SliceIndex (one per proxy shape) -> SlicePart (shared) -> sections (behaviour) and provenance tables

The index of everything stays small: 1,000 proxies are 1,000 short entries, and a proxy reads only its own slice's index. What many proxies
share, such as all that goes out of a namespace, is listed once, in a part that their indexes name.
Behaviour and provenance are pinned apart, so that moving a line changes the snapshot's digest but no slice's behaviour digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec

from policies.source import Position, SourceRef
from snapshot.encode import FEATURES, FORMAT, FormatError, decode, digest, encode


class SectionRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One section of a slice: its kind and name (``cluster``, ``outbound|80||a``), and the digests and sizes of its two parts.

    ``provenance`` is "" where no part of the section has a position."""

    kind: str
    name: str
    behaviour: str
    size: int
    provenance: str


class _Behaviour(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What of a SectionRef counts for a behaviour digest. Thousands of lists in its place would set off the garbage collector each time."""

    kind: str
    name: str
    behaviour: str


class PartRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One part of a slice: the SlicePart blob's digest, and the ``behaviour_digest`` of its sections."""

    digest: str
    behaviour: str


class SlicePart(msgspec.Struct, frozen=True):
    """Sections that several slices have in common, in canonical order (kind, then name)."""

    sections: tuple[SectionRef, ...]


class SliceIndex(msgspec.Struct, frozen=True, omit_defaults=True):
    """All sections of one slice: its own, in canonical order (kind, then name), and those of its ``parts``.

    No two of them have the same kind and name. The index of a Slice in memory has no parts any more: there all sections are its own.
    """

    sections: tuple[SectionRef, ...]
    parts: tuple[PartRef, ...] = ()


class SliceEntry(msgspec.Struct, frozen=True):
    """One slice: whom it is for and what pins it.

    ``proxy`` is ``sidecar``, ``ingress`` or ``egress`` by name only: a proxy is what its slice says. A sidecar is chosen by
    ``namespace`` and ``labels`` (all of the entry's labels must be the proxy's), a gateway by ``name`` or by its labels.
    ``index`` is the SliceIndex blob's digest; ``behaviour`` is the ``behaviour_digest`` of its sections and parts.
    """

    name: str
    proxy: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    index: str
    behaviour: str


class SnapshotIndex(msgspec.Struct, frozen=True):
    """The whole snapshot. ``tree`` is the Git tree's hash (or the digest of a work tree's files); ``features`` what a proxy must have."""

    format: int
    features: tuple[str, ...]
    tree: str
    slices: tuple[SliceEntry, ...]


class ProvenanceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where one SourceRef of a section stands in the mesh repository."""

    source: SourceRef
    position: Position


class Selector(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a proxy's bootstrap says of itself, to find its slice: exact slice ``name``, or namespace and labels."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    name: str = ""
    proxy: str = "sidecar"


class Snapshot(msgspec.Struct, frozen=True):
    """A compiled mesh: its index and every blob that the index reaches, by digest. ``digest`` is that of the index's bytes."""

    index: SnapshotIndex
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The snapshot's name: what ``weft compile`` prints and a release pins."""
        return digest(encode(self.index))


class Slice(msgspec.Struct, frozen=True):
    """One proxy's part of a snapshot, fetched and checked against its digests: section bytes by SectionRef, not decoded yet.

    ``index`` lists every section itself, those of shared parts among the slice's own.
    """

    snapshot: str
    entry: SliceEntry
    index: SliceIndex
    blobs: dict[str, bytes]


def require_readable(index: SnapshotIndex) -> None:
    """Raises FormatError where this version of weft cannot run the snapshot."""
    if index.format != FORMAT:
        raise FormatError(
            "format",
            f"the snapshot has format {index.format}, this weft reads {FORMAT}: upgrade the proxy or recompile",
        )
    missing = sorted(set(index.features) - FEATURES)
    if missing:
        raise FormatError("feature", f"the snapshot needs {', '.join(missing)}, which this weft does not have")


def decode_index(raw: bytes) -> SnapshotIndex:
    """Reads and vets a snapshot's index; raises FormatError."""
    index = decode(raw, SnapshotIndex)
    require_readable(index)
    return index


def behaviour_digest(sections: Iterable[SectionRef], parts: Iterable[PartRef] = ()) -> str:
    """What a slice, or a part of one, does, as one digest: no positions in it, so a comment never changes it."""
    own = [_Behaviour(ref.kind, ref.name, ref.behaviour) for ref in sections]
    shared = [part.behaviour for part in parts]
    return digest(encode([own, shared] if shared else own))


def select(index: SnapshotIndex, selector: Selector) -> SliceEntry | None:
    """The slice for one proxy: by name where given, else the most specific entry (most labels, then name) that fits; None where none does."""
    if selector.name:
        named = [entry for entry in index.slices if entry.name == selector.name]
        return named[0] if named else None
    labels = set(selector.labels)
    fitting = [
        entry
        for entry in index.slices
        if entry.proxy == selector.proxy
        and (not selector.namespace or entry.namespace == selector.namespace)
        and set(entry.labels) <= labels
    ]
    return max(fitting, key=lambda entry: (len(entry.labels), entry.name), default=None)


def slice_blobs(index: SliceIndex, *, provenance: bool = True) -> list[str]:
    """The digests that the sections of an index need, without repetition, in order; of an index with parts, its own sections' alone."""
    wanted = dict.fromkeys(ref.behaviour for ref in index.sections)
    if provenance:
        wanted.update(dict.fromkeys(ref.provenance for ref in index.sections if ref.provenance))
    return list(wanted)


def joined(index: SliceIndex, blobs: Mapping[str, bytes]) -> SliceIndex:
    """The same index without parts: their sections, read from ``blobs``, stand among its own.

    Raises FormatError (``digest``) for a part that lacks or is not what the index pins, or a section that is there twice.
    """
    sections = list(index.sections)
    for part in index.parts:
        shared = decode(_blob(blobs, part.digest), SlicePart).sections
        if behaviour_digest(shared) != part.behaviour:
            raise FormatError("digest", f"part {part.digest[:12]}: its sections are not those that the slice pins")
        sections += shared
    sections.sort(key=lambda ref: (ref.kind, ref.name))
    if index.parts and any(a.kind == b.kind and a.name == b.name for a, b in pairwise(sections)):
        raise FormatError("digest", "a section of the slice is in two of its parts")
    return SliceIndex(tuple(sections))


def pinned_index(entry: SliceEntry, blobs: Mapping[str, bytes]) -> SliceIndex:
    """An entry's index with its parts joined, read from ``blobs``; raises FormatError (``digest``) where it is not what the entry pins."""
    pinned = decode(_blob(blobs, entry.index), SliceIndex)
    if behaviour_digest(pinned.sections, pinned.parts) != entry.behaviour:
        raise FormatError("digest", f"slice {entry.name}: its sections are not those that the snapshot's index pins")
    return joined(pinned, blobs)


def assemble(snapshot: str, entry: SliceEntry, blobs: Mapping[str, bytes]) -> Slice:
    """A Slice from blobs, each checked against the digest that names it; raises FormatError (``digest``) on the first that differs or lacks."""
    index = pinned_index(entry, blobs)
    held = {name: _blob(blobs, name) for name in slice_blobs(index)}
    return Slice(snapshot=snapshot, entry=entry, index=index, blobs=held)


def _blob(blobs: Mapping[str, bytes], name: str) -> bytes:
    raw = blobs.get(name)
    if raw is None:
        raise FormatError("digest", f"blob {name[:12]} is missing")
    if digest(raw) != name:
        raise FormatError("digest", f"blob {name[:12]} has other bytes than its name says")
    return raw
