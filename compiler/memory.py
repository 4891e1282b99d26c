"""What a compiler remembers from one state of a tree to the next, so that a change costs what it touches.

Three things are remembered, each by a digest of all that it follows from, so none is ever asked whether it is still right: what a file shows by
itself, what analysis finds in a namespace's surroundings, and the slices of its scope. In memory (`weft dev`, `--watch`) that is all; with a
CompilerCache all three outlive the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from compiler.compiler_cache import CompilerCache, State
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic
from compiler.encode import EncodedSlices
from compiler.examined import ExaminedFile, examine
from compiler.files import HeldFile
from compiler.guardrails import Guards
from compiler.link import Scope
from compiler.moved import LITTLE, Mover
from compiler.surroundings import Surroundings
from compiler.tree import Tree, TreeFile, digest_of, joined_digest
from policies.source import Position, SourceRef


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
            key = joined_digest(guardrails, file.path.encode("utf-8", "surrogateescape"), file.state)
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
