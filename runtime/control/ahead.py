"""What a proxy will read next, found by walking the store as the proxy will, with what many proxies share kept at hand.

    timestamp -> snapshot -> targets -> release record -> SnapshotIndex -> SliceIndex -> parts -> sections

Nothing can be believed for having come this way: the proxy verifies. Only blobs are kept, and only those that are what their names say, so
that a file that was damaged for a moment is not given for longer. What the proxy has already is what the same walk from the snapshot that
it names reaches. A store that does not read gives less, down to nothing, and never an error.
"""

from __future__ import annotations

import contextlib
import threading
from functools import lru_cache

import msgspec

from snapshot.ahead import MAX_AHEAD_BYTES, Files, Wanted
from snapshot.blobs import MAX_BLOB_BYTES, blob_names, inflate
from snapshot.decoding import json_decoder
from snapshot.encode import FormatError, decode, digest
from snapshot.index import Selector, SliceEntry, SliceIndex, SlicePart, SnapshotIndex, select, slice_blobs
from snapshot.store import NotFound, Store, StoreError
from snapshot.trust.layout import MAX_BYTES, MAX_ROOT_ROTATIONS, TIMESTAMP, metadata_name, release_name, target_path

KEPT_BYTES = 64 * 1024 * 1024
"""Blobs of that many bytes stay at hand: what a release changed is asked for by every proxy. Then all are forgotten, and read again."""

KEPT_PARTS = 256
KEPT_SNAPSHOTS = 8

_UNREADABLE = (StoreError, FormatError, msgspec.DecodeError, UnicodeDecodeError, KeyError)


class _Meta(msgspec.Struct, frozen=True):
    version: int


class _Target(msgspec.Struct, frozen=True):
    hashes: dict[str, str]


class _Signed(msgspec.Struct, frozen=True):
    version: int
    meta: dict[str, _Meta] = {}
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct, frozen=True):
    """As much of a TUF file as leads to the next one."""

    signed: _Signed


class _Record(msgspec.Struct, frozen=True):
    snapshot: str


class Way(msgspec.Struct, frozen=True):
    """From the timestamp to a channel's snapshot: the files, without the timestamp itself, and the snapshot's digest, "" where it does not read."""

    files: Files
    snapshot: str


class Library:
    """Reads ahead in one store. It owns what it keeps of immutable files; safe to call from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keeping = threading.Lock()
        self._blobs: dict[str, Files] = {}
        self._kept_bytes = 0
        self._part = lru_cache(KEPT_PARTS)(self._read_part)
        self._snapshot = lru_cache(KEPT_SNAPSHOTS)(self._read_snapshot)

    def files_for(self, wanted: Wanted, way: Way | None = None) -> Files:
        """The files on a proxy's way to the release of its channel (``way``, read now where none is given), without those that it has. Blocks."""
        way = way or self.way_to(wanted.channel)
        files = dict(way.files)
        # The proxy reads what is not given by itself, and says what is wrong.
        with contextlib.suppress(*_UNREADABLE):
            self._add_slice(files, way.snapshot, wanted)
        return files

    def way_to(self, channel: str) -> Way:
        """What every proxy of a channel reads on its way to the release, as it is now. Blocks."""
        files: Files = {}
        try:
            files |= self._roots()
            signed, snapshot = self._signed(channel)
        except _UNREADABLE:
            return Way(files, "")
        return Way({**files, **signed}, snapshot)

    def _roots(self) -> Files:
        """Every root but the first, and the name of the one that is not there yet: asked anew each time, for a rotation changes no release."""
        files: Files = {}
        for version in range(2, MAX_ROOT_ROTATIONS):
            name = metadata_name("root", version)
            try:
                files[name] = self._store.read(name, max_bytes=MAX_BYTES["root"])
            except NotFound:
                files[name] = None
                break
        return files

    def _signed(self, channel: str) -> tuple[Files, str]:
        """The metadata and the release record of a channel, and the digest of its snapshot: few and small, and read anew each time."""
        timestamp = self._store.read(TIMESTAMP, max_bytes=MAX_BYTES["timestamp"])
        files: Files = {}

        def follow(name: str, role: str) -> bytes:
            raw = self._store.read(name, max_bytes=MAX_BYTES[role])
            files[name] = raw
            return raw

        meta = _metadata(timestamp).meta["snapshot.json"]
        meta = _metadata(follow(metadata_name("snapshot", meta.version), "snapshot")).meta["targets.json"]
        targets = _metadata(follow(metadata_name("targets", meta.version), "targets")).targets
        name = release_name(channel, targets[target_path(channel)].hashes["sha256"])
        record = json_decoder(_Record).decode(follow(name, "timestamp"))
        return files, record.snapshot

    def _add_slice(self, files: Files, snapshot: str, wanted: Wanted) -> None:
        if snapshot in ("", wanted.have):
            return
        held = self._reached(wanted.have, wanted.selector) if wanted.have else frozenset()
        entry = select(self._snapshot(snapshot), wanted.selector)
        lacking = self._reached(snapshot, wanted.selector) - held if entry else frozenset()
        size = 0
        # The indexes come first: without them nobody asks for the rest.
        first = [snapshot, *([entry.index] if entry else [])]
        for blob in (*first, *sorted(lacking - {*first})):
            named = self._kept(blob)
            size += _size(named)
            if size > MAX_AHEAD_BYTES:
                return
            files |= named

    def _reached(self, snapshot: str, selector: Selector) -> frozenset[str]:
        """Every blob that a proxy reads for a snapshot, the snapshot's own index apart; none where that is not here."""
        try:
            entry = select(self._snapshot(snapshot), selector)
            return self._reached_from(entry) if entry else frozenset()
        except NotFound:
            return frozenset()

    def _reached_from(self, entry: SliceEntry) -> frozenset[str]:
        index = decode(self._blob(entry.index), SliceIndex)
        shared = (self._part(part.digest) for part in index.parts)
        return frozenset({entry.index, *slice_blobs(index)}).union(*shared)

    def _read_part(self, name: str) -> frozenset[str]:
        sections = decode(self._blob(name), SlicePart).sections
        return frozenset({name, *slice_blobs(SliceIndex(sections))})

    def _read_snapshot(self, name: str) -> SnapshotIndex:
        return decode(self._blob(name), SnapshotIndex)

    def _blob(self, name: str) -> bytes:
        raw = _inflated(name, self._kept(name))
        if digest(raw) != name:
            raise FormatError("digest", f"blob {name[:12]} is damaged")
        return raw

    def _kept(self, name: str) -> Files:
        files = self._blobs.get(name)
        if files is None:
            files = self._read_blob(name)
            if not _is_sound(name, files):
                return files
            with self._keeping:
                if self._kept_bytes > KEPT_BYTES:
                    self._blobs, self._kept_bytes = {}, 0
                self._blobs[name] = files
                self._kept_bytes += _size(files)
        return files

    def _read_blob(self, name: str) -> Files:
        packed, plain = blob_names(name)
        try:
            return {packed: self._store.read(packed, max_bytes=MAX_BLOB_BYTES)}
        except NotFound:
            return {packed: None, plain: self._store.read(plain, max_bytes=MAX_BLOB_BYTES)}


def _is_sound(name: str, files: Files) -> bool:
    try:
        return digest(_inflated(name, files)) == name
    except (FormatError, StoreError):
        return False


def _inflated(name: str, files: Files) -> bytes:
    packed, plain = blob_names(name)
    raw = files[packed]
    return files[plain] or b"" if raw is None else inflate(raw, max_bytes=MAX_BLOB_BYTES)


def _size(files: Files) -> int:
    return sum(len(raw) for raw in files.values() if raw is not None)


def _metadata(raw: bytes) -> _Signed:
    return json_decoder(_Metadata).decode(raw).signed
