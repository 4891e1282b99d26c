"""What compilations keep on disk, typed: outlines, examined files, findings, slices and their blobs, each by a digest of all that it follows from.

The bytes are compiler/kept.py's, which says why a folder that anybody may have written to can be read. A value that cannot be read back is a value
that is not there.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from compiler.diagnostic import Diagnostic
from compiler.encode import EncodedSlices
from compiler.examined import ExaminedFile
from compiler.files import FileOutline
from compiler.judges import judges
from compiler.kept import Kept, cache_key
from compiler.moved import made_in
from compiler.repository import cache_folder
from compiler.tree import joined_digest
from snapshot.index import SliceEntry

_T = TypeVar("_T")
_examined = msgspec.msgpack.Decoder(ExaminedFile)
_outline = msgspec.msgpack.Decoder(FileOutline)
_found = msgspec.msgpack.Decoder(list[Diagnostic])


_STATE = b"the last compilation"


class State(msgspec.Struct, frozen=True):
    """What a compilation came from: the states of its files by path, and the fingerprints of its scopes by their content."""

    files: dict[str, bytes]
    scopes: dict[bytes, bytes]

    def changed(self, files: Mapping[str, bytes]) -> frozenset[str]:
        """The files that are not any more what they were."""
        return frozenset(path for path, state in self.files.items() if files.get(path) != state)


_state = msgspec.msgpack.Decoder(State)


class CompilerCache:
    """Owns the folders that one place's compilations share."""

    def __init__(self, folder: Callable[[str], Kept]) -> None:
        self._outlines = folder("outlines")
        self._files = folder("files")
        self._findings = folder("found")
        self._slices = folder("slices")
        self._blobs = folder("blobs")
        self._states = folder("state")

    @classmethod
    def of(cls, path: Path) -> CompilerCache | None:
        """The cache for what is compiled from a path; None where this user has no key."""
        key = cache_key()
        if key is None:
            return None
        place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        folder = cache_folder(path)
        return cls(lambda name: Kept(folder / f"{name}-{place}", key))

    def outline(self, key: bytes) -> FileOutline | None:
        """What is known of a file without opening its documents."""
        return self._decoded(self._outlines, key, _outline)

    def file(self, key: bytes) -> ExaminedFile | None:
        """What a file showed by itself."""
        return self._decoded(self._files, key, _examined)

    def keep_file(self, key: bytes, outline: FileOutline, examined: ExaminedFile) -> None:
        """Keeps what a file showed, where that can be written down."""
        try:
            raw = msgspec.msgpack.encode(examined)
            short = msgspec.msgpack.encode(outline)
        except (UnicodeEncodeError, OverflowError, RecursionError):
            # A path that is no text, a number that no other reader would hold.
            return
        self._files.put(self._name(key), raw)
        self._outlines.put(self._name(key), short)

    def findings(self, fingerprint: bytes) -> list[Diagnostic] | None:
        """What was found in surroundings of this fingerprint."""
        return self._decoded(self._findings, fingerprint, _found)

    def keep_findings(self, fingerprint: bytes, found: list[Diagnostic]) -> None:
        """Keeps what was found."""
        with contextlib.suppress(UnicodeEncodeError):
            self._findings.put(self._name(fingerprint), msgspec.msgpack.encode(found))

    def slices(self, fingerprint: bytes, encoded: Callable[[], EncodedSlices]) -> EncodedSlices | None:
        """The slices that a scope of this fingerprint came to. Their blobs are read when they are asked for; ``encoded`` makes a lost one anew."""
        entries = self._decoded(self._slices, fingerprint, _entries)
        if entries is None:
            return None
        return EncodedSlices(entries, _KeptBlobs(self._name(fingerprint), self._blobs, encoded))

    def keep_slices(self, fingerprint: bytes, encoded: EncodedSlices) -> None:
        """Keeps slices; a blob that several namespaces have is kept once."""
        for name, blob in made_in(encoded).items():
            self._blobs.put(bytes.fromhex(name), blob)
        self._blobs.put(self._name(fingerprint), bytes.fromhex("".join(encoded.blobs)))
        self._slices.put(self._name(fingerprint), msgspec.msgpack.encode(encoded.entries))

    def state(self) -> State | None:
        """What the last compilation kept."""
        return self._decoded(self._states, _STATE, _state)

    def keep_state(self, state: State) -> None:
        """Keeps what this compilation came from."""
        with contextlib.suppress(UnicodeEncodeError):
            self._states.put(self._name(_STATE), msgspec.msgpack.encode(state))

    def save(self, files: Iterable[bytes], findings: Iterable[bytes], slices: Mapping[bytes, EncodedSlices]) -> None:
        """Writes what is new; of what was kept, what has none of these names may go."""
        self._outlines.save(lambda: map(self._name, files))
        self._files.save(lambda: map(self._name, files))
        self._findings.save(lambda: map(self._name, findings))
        self._slices.save(lambda: map(self._name, slices))
        self._states.save(lambda: (self._name(_STATE),))
        self._blobs.save(lambda: self._alive_blobs(slices))

    def _alive_blobs(self, slices: Mapping[bytes, EncodedSlices]) -> Iterator[bytes]:
        for fingerprint, encoded in slices.items():
            yield self._name(fingerprint)
            yield from map(bytes.fromhex, encoded.blobs)

    def _decoded(self, kept: Kept, key: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T | None:
        raw = kept.get(self._name(key))
        try:
            return None if raw is None else decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _name(self, key: bytes) -> bytes:
        return joined_digest(self._judges, key)

    @cached_property
    def _judges(self) -> bytes:
        return judges().encode()


class _KeptBlobs(Mapping[str, bytes]):
    """The blobs of slices that were kept, read one by one; all are made anew where one is lost. ``listed`` is where their names are kept."""

    def __init__(self, listed: bytes, kept: Kept, encoded: Callable[[], EncodedSlices]) -> None:
        self._listed = listed
        self._kept = kept
        self._encoded = encoded

    @cached_property
    def _names(self) -> frozenset[str]:
        packed = self._kept.get(self._listed)
        if packed is None:
            return frozenset(self._anew)
        size = hashlib.sha256().digest_size
        return frozenset(packed[at : at + size].hex() for at in range(0, len(packed), size))

    @cached_property
    def _anew(self) -> Mapping[str, bytes]:
        return self._encoded().blobs

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        found = self._kept.get(bytes.fromhex(name))
        return self._anew[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


_entries = msgspec.msgpack.Decoder(tuple[SliceEntry, ...])
