"""What files held when they were last read, by what the file system says of them: so that what has not been touched is not read again.
Of a commit's files the names of Git's blobs say it, and a work tree and a commit with the same files are known by the same digests.

As in Git's index, a file whose device, inode, size and times of change are those noted is taken to hold what it held. The time of
change of the inode cannot be set back, so only two changes within one tick of the file system's clock could go unseen; therefore nothing is
noted of a file that was changed in the last seconds before it was read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from compiler.kept import Kept, cache_key
from compiler.repository import cache_folder

SETTLED_NS = 2_000_000_000
"""How long ago a file must have changed to be known again: more than a tick of any file system's clock (FAT has two seconds)."""

_Row = tuple[int, int, int, int, int, bytes]
_Rows = dict[str, _Row]
_Digests = dict[bytes, bytes]
_T = TypeVar("_T")
_rows = msgspec.msgpack.Decoder(_Rows)
_digests = msgspec.msgpack.Decoder(_Digests)


class Stamps:
    """Owns the notes about the files of one place. ``kept`` is where they outlive the process, under ``name``."""

    def __init__(self, kept: Kept | None = None, name: bytes = b"") -> None:
        self._kept = kept
        self._name = name
        self._known = self._load(name, _rows) or {}
        self._blobs = self._load(self._name_of_blobs, _digests) or {}
        self._seen: _Rows = {}
        self._seen_blobs: _Digests = {}

    @classmethod
    def of(cls, path: Path) -> Stamps:
        """The stamps of what is read below a path, kept where this user has a key."""
        key = cache_key()
        if key is None:
            return cls()
        place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).digest()
        return cls(Kept(cache_folder(path) / "stamps", key), place)

    def digest(self, path: str, stat: os.stat_result) -> bytes | None:
        """The sha256 of what a file held when it was as ``stat`` says; None where it has to be read."""
        row = self._known.get(path)
        if row is None or row[:5] != _stamp(stat):
            return None
        self._seen[path] = row
        return row[5]

    def note(self, path: str, stat: os.stat_result, digest: bytes) -> None:
        """Remembers what a file holds that was as ``stat`` says before it was read."""
        if max(stat.st_mtime_ns, stat.st_ctime_ns) + SETTLED_NS < time.time_ns():
            self._known[path] = self._seen[path] = (*_stamp(stat), digest)

    def of_blob(self, blob: bytes, content: Callable[[], bytes]) -> bytes:
        """The sha256 of what a blob of Git's holds, whose name no other content has; it is read where that is not known yet."""
        known = self._blobs.get(blob)
        if known is None:
            known = self._blobs[blob] = hashlib.sha256(content()).digest()
        self._seen_blobs[blob] = known
        return known

    def save(self) -> None:
        """Keeps what was seen since the last time for the next process, and of files and blobs each nothing else."""
        if self._kept is None:
            return
        if self._seen and self._seen != self._load(self._name, _rows):
            # A path may be no text.
            with contextlib.suppress(UnicodeEncodeError):
                self._kept.put(self._name, msgspec.msgpack.encode(self._seen))
        if self._seen_blobs and self._seen_blobs != self._load(self._name_of_blobs, _digests):
            self._kept.put(self._name_of_blobs, msgspec.msgpack.encode(self._seen_blobs))
        self._kept.save(lambda: (self._name, self._name_of_blobs))
        self._seen, self._seen_blobs = {}, {}

    @property
    def _name_of_blobs(self) -> bytes:
        return self._name + b" blobs"

    def _load(self, name: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T | None:
        raw = self._kept.get(name) if self._kept is not None else None
        try:
            return None if raw is None else decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def _stamp(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
