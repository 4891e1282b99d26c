"""From a release to this proxy's slice: the snapshot's index, the proxy's entry in it, and the blobs that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from snapshot.blobs import MAX_BLOB_BYTES, read_blob
from snapshot.encode import FormatError, decode
from snapshot.index import (
    Selector,
    Slice,
    SliceEntry,
    SliceIndex,
    decode_index,
    pinned_index,
    select,
    slice_blobs,
)
from snapshot.store import NotFound, Store, TooLarge
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.release import Release

MAX_SLICE_BYTES = 256 * 1024 * 1024
MAX_SECTIONS = 200_000
MAX_PARTS = 10_000
_PARALLEL_READS = 8


class Contents(msgspec.Struct, frozen=True):
    """A slice and every blob that it took, the indexes and their parts included."""

    slice: Slice
    blobs: dict[str, bytes]


def fetch_slice(store: Store | None, release: Release, selector: Selector, held: Mapping[str, bytes]) -> Contents:
    """The proxy's slice of a release. Raises Untrusted and StoreError.

    ``held`` are verified blobs at hand, by digest; only others are read, and where there is no store, others are missing.
    """
    try:
        raw_index = _blob(store, release.snapshot, held)
        index = decode_index(raw_index)
        entry = select(index, selector)
        if entry is None:
            raise Untrusted(Reason.NO_SLICE, f"version {release.version} has no slice for {describe(selector)}")
        indexes = _indexes(store, entry, held)
        slice_index = pinned_index(entry, indexes)
        _require_bounded(slice_index)
        blobs = _blobs(store, slice_index, held)
        # Every blob was checked by its digest, when it was read now or for the release that it is held from.
        part = Slice(release.snapshot, entry, slice_index, blobs)
        return Contents(part, {**blobs, **indexes, release.snapshot: raw_index})
    except FormatError as error:
        raise Untrusted(Reason(error.reason), str(error)) from None


def describe(selector: Selector) -> str:
    """A selector as the operator wrote it, for messages."""
    if selector.name:
        return f"the name {selector.name!r}"
    labels = ", ".join(f"{key}={value}" for key, value in selector.labels) or "no labels"
    return f"a {selector.proxy} in namespace {selector.namespace!r} with {labels}"


def _indexes(store: Store | None, entry: SliceEntry, held: Mapping[str, bytes]) -> dict[str, bytes]:
    """The slice's index and the parts that it names."""
    raw = _blob(store, entry.index, held)
    parts = decode(raw, SliceIndex).parts
    if len(parts) > MAX_PARTS:
        raise Untrusted(Reason.TOO_LARGE, f"the slice has {len(parts)} parts, more than a proxy holds")
    return {entry.index: raw, **_all(store, [part.digest for part in parts], held, {})}


def _require_bounded(index: SliceIndex) -> None:
    total = sum(ref.size for ref in index.sections)
    if len(index.sections) > MAX_SECTIONS or total > MAX_SLICE_BYTES:
        raise Untrusted(
            Reason.TOO_LARGE, f"the slice has {len(index.sections)} sections of {total} bytes, more than a proxy holds"
        )


def _blobs(store: Store | None, index: SliceIndex, held: Mapping[str, bytes]) -> dict[str, bytes]:
    sizes = {ref.behaviour: ref.size for ref in index.sections}
    return _all(store, slice_blobs(index), held, sizes)


def _all(
    store: Store | None, wanted: list[str], held: Mapping[str, bytes], sizes: Mapping[str, int]
) -> dict[str, bytes]:
    """Blobs by digest, those that are not held read several at once; ``sizes`` bounds those that say how large they are."""
    blobs = {name: held[name] for name in wanted if name in held}
    lacking = [name for name in wanted if name not in held]
    if not lacking:
        return blobs
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        read = pool.map(lambda name: _blob(store, name, held, max_bytes=sizes.get(name, MAX_BLOB_BYTES)), lacking)
        return {**blobs, **dict(zip(lacking, read, strict=True))}


def _blob(store: Store | None, name: str, held: Mapping[str, bytes], *, max_bytes: int = MAX_BLOB_BYTES) -> bytes:
    if name in held:
        return held[name]
    if store is None:
        raise Untrusted(Reason.MISSING, f"blob {name[:12]} is missing")
    try:
        return read_blob(store, name, max_bytes=min(max_bytes, MAX_BLOB_BYTES))
    except NotFound:
        raise Untrusted(Reason.MISSING, f"blob {name[:12]} is missing") from None
    except TooLarge as error:
        raise Untrusted(Reason.TOO_LARGE, str(error)) from None
