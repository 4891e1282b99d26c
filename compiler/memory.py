"""What a compiler remembers from one state of a tree to the next, so that a change costs what it touches.

Three things are kept, each by a digest of all that it follows from, so none is ever asked whether it is still right: what a file shows
by itself, the resource in a document, and the slices of a namespace. In memory (`weft dev`, `--watch`) that is all; with a CompilerCache
the first and the last outlive the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec

from compiler.encode import EncodedSlices
from compiler.examined import ExaminedFile, examine
from compiler.guardrails import Guards
from compiler.judges import judges
from compiler.kept import Kept, cache_key
from compiler.link import Scope
from compiler.node import Document
from compiler.repository import cache_folder
from compiler.resources.load import Read, read_document
from compiler.tree import Tree, digest_of
from snapshot.index import SliceEntry

_FileKey = tuple[str, bytes]
_examined = msgspec.msgpack.Decoder(ExaminedFile)


class CompilerCache:
    """The two folders that one place's compilations share. A value that cannot be read back is a value that is not there."""

    def __init__(self, files: Kept, slices: Kept) -> None:
        self._files = files
        self._slices = slices

    @classmethod
    def of(cls, path: Path) -> CompilerCache | None:
        """The cache for what is compiled from a path; None where this user has no key."""
        key = cache_key()
        if key is None:
            return None
        place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        folder = cache_folder(path)
        return cls(Kept(folder / f"files-{place}", key), Kept(folder / f"slices-{place}", key))

    def file(self, file: str, content: bytes, guardrails: str) -> ExaminedFile | None:
        """What a file showed by itself under these guardrails."""
        raw = self._files.get(self._file_name(file, content, guardrails))
        try:
            return None if raw is None else _examined.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def keep_file(self, file: str, content: bytes, guardrails: str, examined: ExaminedFile) -> None:
        """Keeps what a file showed, where that can be written down."""
        try:
            raw = msgspec.msgpack.encode(examined)
        except (UnicodeEncodeError, OverflowError, RecursionError):
            # A path that is no text, a number that no other reader would hold.
            return
        self._files.put(self._file_name(file, content, guardrails), raw)

    def slices(self, fingerprint: bytes) -> EncodedSlices | None:
        """The slices that a scope of this fingerprint came to."""
        raw = self._slices.get(self._slices_name(fingerprint))
        try:
            pinned = None if raw is None else msgspec.msgpack.decode(raw, type=_PinnedSlices)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if pinned is None:
            return None
        blobs: dict[str, bytes] = {}
        for name in pinned.blobs:
            blob = self._slices.get(name)
            if blob is None:
                return None
            blobs[name.hex()] = blob
        return EncodedSlices(pinned.entries, blobs)

    def keep_slices(self, fingerprint: bytes, encoded: EncodedSlices) -> None:
        """Keeps slices; a blob that several namespaces have is kept once."""
        names = [bytes.fromhex(name) for name in encoded.blobs]
        for name, blob in zip(names, encoded.blobs.values(), strict=True):
            self._slices.put(name, blob)
        pinned = _PinnedSlices(encoded.entries, tuple(names))
        self._slices.put(self._slices_name(fingerprint), msgspec.msgpack.encode(pinned))

    def save(self) -> None:
        """Writes what is new, and lets go what was not asked for."""
        self._files.save()
        self._slices.save()

    def _file_name(self, file: str, content: bytes, guardrails: str) -> bytes:
        return _digest(self._judges, guardrails.encode(), file.encode("utf-8", "surrogateescape"), content)

    def _slices_name(self, fingerprint: bytes) -> bytes:
        return _digest(self._judges, fingerprint)

    @cached_property
    def _judges(self) -> bytes:
        return judges().encode()


class _PinnedSlices(msgspec.Struct, frozen=True, array_like=True):
    """Slices as they are kept: the blobs by their digests alone."""

    entries: tuple[SliceEntry, ...]
    blobs: tuple[bytes, ...]


class Memory:
    """Owns the examined files of the last tree, by path and content, the resources in them, and the slices of its namespaces.

    What the next tree does not have is let go. ``cache`` is asked, and told, what this memory does not hold itself.
    """

    def __init__(self, cache: CompilerCache | None = None) -> None:
        self._cache = cache
        self._held: dict[_FileKey, ExaminedFile] = {}
        self._read: dict[Document, Read | None] = {}
        self._slices: dict[bytes, EncodedSlices] = {}
        self._guardrails = ""

    def examine(
        self, tree: Tree, guards: Guards, *, examine: Callable[..., ExaminedFile] = examine
    ) -> list[ExaminedFile]:
        """The files of a tree, of which only those are looked at that are new or have changed."""
        guardrails = digest_of(tree.guardrails())
        before = self._held if guardrails == self._guardrails else {}
        now: dict[_FileKey, ExaminedFile] = {}
        for file, content in tree.files():
            key = file, hashlib.sha256(content).digest()
            now[key] = (
                before.get(key)
                or self._recall(file, content, guardrails)
                or self._learn(file, content, guardrails, examine(file, content, guards))
            )
        self._held, self._guardrails = now, guardrails
        alive = (document for file in now.values() for document in file.loaded.documents)
        self._read = {document: self._read[document] for document in alive if document in self._read}
        return list(now.values())

    def read(self, document: Document) -> Read | None:
        """The resource of a document of the last tree, read once for as long as its file stays."""
        if document not in self._read:
            self._read[document] = read_document(document)
        return self._read[document]

    def slices(self, scopes: list[Scope], encoded: Callable[[Scope], EncodedSlices]) -> list[EncodedSlices]:
        """The slices of every scope, linked and encoded where no equal scope is remembered."""
        now: dict[bytes, EncodedSlices] = {}
        for scope in scopes:
            name = scope.fingerprint
            found = self._slices.get(name) or (self._cache.slices(name) if self._cache else None)
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
            self._cache.save()

    def _recall(self, file: str, content: bytes, guardrails: str) -> ExaminedFile | None:
        return self._cache.file(file, content, guardrails) if self._cache else None

    def _learn(self, file: str, content: bytes, guardrails: str, examined: ExaminedFile) -> ExaminedFile:
        if self._cache is not None:
            self._cache.keep_file(file, content, guardrails, examined)
        return examined


def _digest(*parts: bytes) -> bytes:
    """A digest of several byte strings; their lengths go in too, so that no two lists collide."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d\n" % len(part) + part)
    return whole.digest()
