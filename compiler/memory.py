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
from compiler.moved import LITTLE, Mover, made_in
from compiler.repository import cache_folder
from compiler.surroundings import Surroundings
from compiler.tree import Tree, TreeFile, digest_of
from policies.source import Position, SourceRef
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
    """The folders that one place's compilations share. A value that cannot be read back is a value that is not there."""

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

    What the next tree does not have is let go. ``cache`` is asked, and told, what this memory does not hold itself. Up to ``little`` documents
    are rather linked again than moved (compiler/moved.py).
    """

    def __init__(self, cache: CompilerCache | None = None, *, little: int = LITTLE) -> None:
        self._cache = cache
        self._little = little
        self._held: dict[bytes, HeldFile] = {}
        self._findings: dict[bytes, list[Diagnostic]] = {}
        self._slices: dict[bytes, EncodedSlices] = {}
        self._state: dict[str, bytes] = {}
        self._before: State | None = None

    def survey(self, tree: Tree, guards: Guards, *, examine: Callable[..., ExaminedFile] = examine) -> list[HeldFile]:
        """The files of a tree, of which only those are looked at that are new or have changed."""
        guardrails = digest_of(tree.guardrails()).encode()
        now: dict[bytes, HeldFile] = {}
        state: dict[str, bytes] = {}
        for file in tree.entries():
            key = _digest(guardrails, file.path.encode("utf-8", "surrogateescape"), file.state)
            known = self._held.get(key) or self._recall(key, file, guards)
            now[key] = known or self._learn(key, examine(file.path, file.read(), guards))
            state[file.path] = file.state
        self._held, self._state = now, state
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

    def slices(
        self,
        scopes: list[Scope],
        encoded: Callable[[Scope], EncodedSlices],
        positions: Mapping[SourceRef, Position],
    ) -> list[EncodedSlices]:
        """The slices of every scope: as they were where an equal one is remembered, moved where only positions differ, else encoded anew."""
        known = {scope: self._known_slices(scope.fingerprint, partial(encoded, scope)) for scope in scopes}
        missing = [scope for scope, found in known.items() if found is None]
        before = self._before or (self._cache.state() if self._cache and missing else None) or State({}, {})
        mover = Mover(positions, before.changed(self._state))
        many = sum(map(len, missing)) > self._little
        now: dict[bytes, EncodedSlices] = {}
        for scope, remembered in known.items():
            found = remembered or (self._moved(before.scopes.get(scope.content), mover) if many else None)
            now[scope.fingerprint] = found = found or encoded(scope)
            if self._cache is not None and found is not remembered:
                self._cache.keep_slices(scope.fingerprint, found)
        self._slices = now
        self._before = State(self._state, {scope.content: scope.fingerprint for scope in scopes})
        if self._cache is not None:
            self._cache.keep_state(self._before)
        return list(now.values())

    def _known_slices(self, fingerprint: bytes, encoded: Callable[[], EncodedSlices]) -> EncodedSlices | None:
        found = self._slices.get(fingerprint)
        return self._cache.slices(fingerprint, encoded) if found is None and self._cache is not None else found

    def _moved(self, fingerprint: bytes | None, mover: Mover) -> EncodedSlices | None:
        """The slices of an earlier fingerprint with today's positions; None where they are not there any more."""
        found = self._known_slices(fingerprint, _lost) if fingerprint is not None else None
        try:
            return None if found is None else mover.moved(found)
        except KeyError:
            return None

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


def _lost() -> EncodedSlices:
    """What an earlier scope comes to cannot be worked out again."""
    return EncodedSlices((), {})


def _digest(*parts: bytes) -> bytes:
    """A digest of several byte strings; their lengths go in too, so that no two lists collide."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d\n" % len(part) + part)
    return whole.digest()
