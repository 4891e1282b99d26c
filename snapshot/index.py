"""What a snapshot is made of: one index that pins slices, each slice's index that pins sections. All are blobs named by sha256.

    SnapshotIndex -> SliceIndex (one per proxy shape) -> sections (behaviour) and provenance tables

The index of everything stays small: 1,000 proxies are 1,000 short entries, and a proxy reads only its own slice's index.
Behaviour and provenance are pinned apart, so that moving a line changes the snapshot's digest but no slice's behaviour digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


class SliceIndex(msgspec.Struct, frozen=True):
    """All sections of one slice, in canonical order (kind, then name)."""

    sections: tuple[SectionRef, ...]


class SliceEntry(msgspec.Struct, frozen=True):
    """One slice: whom it is for and what pins it.

    ``proxy`` is ``sidecar``, ``ingress`` or ``egress`` by name only: a proxy is what its slice says. A sidecar is chosen by
    ``namespace`` and ``labels`` (all of the entry's labels must be the proxy's), a gateway by ``name`` or by its labels.
    ``index`` is the SliceIndex blob's digest; ``behaviour`` is the sha256 over the sections' behaviour digests alone.
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


class Selector(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a proxy's bootstrap says of itself, to find its slice: exact slice ``name``, or namespace and labels."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    name: str = ""
    proxy: str = "sidecar"


class Snapshot(msgspec.Struct, frozen=True):
    """A compiled mesh: its index and every blob that the index reaches, by digest. ``digest`` is that of the index's bytes."""

    index: SnapshotIndex
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        """The snapshot's name: what ``weft compile`` prints and a release pins."""
        return digest(encode(self.index))


class Slice(msgspec.Struct, frozen=True):
    """One proxy's part of a snapshot, fetched and checked against its digests: section bytes by SectionRef, not decoded yet."""

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


def behaviour_digest(sections: Iterable[SectionRef]) -> str:
    """What a slice does, as one digest: no positions in it, so a comment never changes it."""
    return digest(encode([[ref.kind, ref.name, ref.behaviour] for ref in sections]))


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
    """The digests that a slice needs besides its own index, without repetition, in order."""
    wanted = dict.fromkeys(ref.behaviour for ref in index.sections)
    if provenance:
        wanted.update(dict.fromkeys(ref.provenance for ref in index.sections if ref.provenance))
    return list(wanted)


def assemble(snapshot: str, entry: SliceEntry, blobs: Mapping[str, bytes]) -> Slice:
    """A Slice from blobs, each checked against the digest that names it; raises FormatError (``digest``) on the first that differs or lacks."""
    index = decode(_blob(blobs, entry.index), SliceIndex)
    held = {name: _blob(blobs, name) for name in slice_blobs(index)}
    if behaviour_digest(index.sections) != entry.behaviour:
        raise FormatError("digest", f"slice {entry.name}: its sections are not those that the snapshot's index pins")
    return Slice(snapshot=snapshot, entry=entry, index=index, blobs=held)


def _blob(blobs: Mapping[str, bytes], name: str) -> bytes:
    raw = blobs.get(name)
    if raw is None:
        raise FormatError("digest", f"blob {name[:12]} is missing")
    if digest(raw) != name:
        raise FormatError("digest", f"blob {name[:12]} has other bytes than its name says")
    return raw
