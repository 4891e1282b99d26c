"""What a compiler remembers from one state of a tree to the next, so that a change costs what it touches.

Three things are kept, each by a digest of all that it follows from, so none is ever asked whether it is still right: what a file shows
by itself, the resource in a document, and the slices of a namespace. In memory (`weft dev`, `--watch`) that is all; with a CompilerCache
the first and the last outlive the process.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import msgspec

from compiler.dates import Dates
from compiler.diagnostic import Diagnostic
from compiler.encode import EncodedSlices
from compiler.examined import ExaminedFile, examine
from compiler.files import FileOutline, HeldFile
from compiler.guardrails import Guards
from compiler.judges import judges
from compiler.kept import Kept, cache_key
from compiler.link import Scope
from compiler.repository import cache_folder
from compiler.surroundings import Surroundings
from compiler.tree import Tree, TreeFile, digest_of
from snapshot.index import SliceEntry

_T = TypeVar("_T")
_examined = msgspec.msgpack.Decoder(ExaminedFile)
_outline = msgspec.msgpack.Decoder(FileOutline)
_found = msgspec.msgpack.Decoder(list[Diagnostic])


class CompilerCache:
    """The folders that one place's compilations share. A value that cannot be read back is a value that is not there."""

    def __init__(self, folder: Callable[[str], Kept]) -> None:
        self._outlines = folder("outlines")
        self._files = folder("files")
        self._findings = folder("found")
        self._slices = folder("slices")
        self._blobs = folder("blobs")

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
        for name, blob in encoded.blobs.items():
            self._blobs.put(bytes.fromhex(name), blob)
        self._blobs.put(self._name(fingerprint), bytes.fromhex("".join(encoded.blobs)))
        self._slices.put(self._name(fingerprint), msgspec.msgpack.encode(encoded.entries))

    def save(self, files: Iterable[bytes], findings: Iterable[bytes], slices: Mapping[bytes, EncodedSlices]) -> None:
        """Writes what is new; of what was kept, what has none of these names may go."""
        self._outlines.save(lambda: map(self._name, files))
        self._files.save(lambda: map(self._name, files))
        self._findings.save(lambda: map(self._name, findings))
        self._slices.save(lambda: map(self._name, slices))
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
        return _digest(self._judges, key)

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


class Memory:
    """Owns the files of the last tree, and the findings and slices of its namespaces, each by a digest of all that it follows from.

    What the next tree does not have is let go. ``cache`` is asked, and told, what this memory does not hold itself.
    """

    def __init__(self, cache: CompilerCache | None = None) -> None:
        self._cache = cache
        self._held: dict[bytes, HeldFile] = {}
        self._findings: dict[bytes, list[Diagnostic]] = {}
        self._slices: dict[bytes, EncodedSlices] = {}

    def survey(self, tree: Tree, guards: Guards, *, examine: Callable[..., ExaminedFile] = examine) -> list[HeldFile]:
        """The files of a tree, of which only those are looked at that are new or have changed."""
        guardrails = digest_of(tree.guardrails()).encode()
        now: dict[bytes, HeldFile] = {}
        for file in tree.entries():
            key = _digest(guardrails, file.path.encode("utf-8", "surrogateescape"), file.state)
            known = self._held.get(key) or self._recall(key, file, guards)
            now[key] = known or self._learn(key, examine(file.path, file.read(), guards))
        self._held = now
        return list(now.values())

    @property
    def depends_on_date(self) -> bool:
        """Whether findings in the last tree can be others tomorrow: there may be a certificate, whose end comes near."""
        return any(item.kind == "Secret" for file in self._held.values() for item in file.outline.documents)

    def findings(self, parts: list[Surroundings], dates: Dates | None) -> list[Diagnostic]:
        """What analysis finds in a mesh, part by part; only what surrounds a change is looked at again."""
        now: dict[bytes, list[Diagnostic]] = {}
        found: list[Diagnostic] = []
        for part in parts:
            if dates is not None and part.depends_on_date:
                found += part.findings(dates)
                continue
            name = part.fingerprint
            known = self._findings.get(name)
            if known is None and self._cache is not None:
                known = self._cache.findings(name)
            if known is None:
                known = part.findings(dates)
                if self._cache is not None:
                    self._cache.keep_findings(name, known)
            now[name] = known
            found += known
        self._findings = now
        return found

    def slices(self, scopes: list[Scope], encoded: Callable[[Scope], EncodedSlices]) -> list[EncodedSlices]:
        """The slices of every scope, linked and encoded where no equal scope is remembered."""
        now: dict[bytes, EncodedSlices] = {}
        for scope in scopes:
            name = scope.fingerprint
            found = self._slices.get(name) or (
                self._cache.slices(name, partial(encoded, scope)) if self._cache else None
            )
            if found is None:
                found = encoded(scope)
                if self._cache is not None:
                    self._cache.keep_slices(name, found)
            now[name] = found
        self._slices = now
        return list(now.values())

    def save(self) -> None:
        """Hands what was learned to the next process, where there is a cache."""
        if self._cache is not None:
            self._cache.save(self._held, self._findings, self._slices)

    def _recall(self, key: bytes, file: TreeFile, guards: Guards) -> HeldFile | None:
        cache = self._cache
        known = cache.outline(key) if cache is not None else None
        if cache is None or known is None:
            return None
        return HeldFile(key, known, lambda: cache.file(key) or examine(file.path, file.read(), guards))

    def _learn(self, key: bytes, examined: ExaminedFile) -> HeldFile:
        held = HeldFile.examined(key, examined)
        if self._cache is not None:
            self._cache.keep_file(key, held.outline, examined)
        return held


def _digest(*parts: bytes) -> bytes:
    """A digest of several byte strings; their lengths go in too, so that no two lists collide."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d\n" % len(part) + part)
    return whole.digest()
