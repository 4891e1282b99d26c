"""Everything that can be wrong with one file of a published release, and what a proxy makes of it."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.fetch.news import VerifiedSlice
from runtime.fetch.session import Session
from snapshot.index import Selector
from snapshot.store import Store, StoreError
from snapshot.trust.failure import Reason, Untrusted
from tests.stores import MemoryStore, mesh, release_mesh, signing_keys

Files = dict[str, bytes]

ROUTES = 8
FLIPS = 110
CUTS = 40
"""So many for each file."""
ENDLESS_BYTES = 17_000_000
MAX_HARMLESS = 20
"""How many mutations may go unnoticed because they change no value: JSON reads either case of a hexadecimal signature the same."""


class Mutation(msgspec.Struct, frozen=True):
    """One thing wrong with one file; None where it is gone."""

    label: str
    name: str
    content: bytes | None


class Outcome(msgspec.Struct):
    """Owns the count of what was refused, by reason, and the list of what was let through."""

    refused: Counter[str] = msgspec.field(default_factory=Counter)
    loaded: list[tuple[str, VerifiedSlice]] = msgspec.field(default_factory=list)


class Victim:
    """A proxy that runs release 1 and looks at what it is told is release 2. It owns a folder: root, state and memory."""

    def __init__(self, folder: Path) -> None:
        (folder / "root.json").write_bytes(signing_keys().root)
        self._trust = folder / "trust"
        self.bootstrap = Bootstrap(
            selector=Selector(name="test"), store="s", root=str(folder / "root.json"), state=str(folder / "state")
        )
        self.older, self.newer = histories()
        session = self.restarted(MemoryStore(self.older))
        assert session.refresh() is not None
        session.persist()
        assert session.verified is not None
        self.kept = session.verified
        store = MemoryStore(self.newer)
        assert self.restarted(store).refresh() is not None
        self.reads = sorted(set(store.reads) & set(self.newer))

    def restarted(self, store: Store) -> Session:
        """A session that starts from the state directory alone."""
        shutil.rmtree(self._trust, ignore_errors=True)
        self._trust.mkdir()
        session = Session(self.bootstrap, store, self._trust)
        session.restore()
        return session

    def mutations(self) -> Iterator[Mutation]:
        """Every mutation of every file that the way to release 2 reads."""
        _, theirs = histories(keys_of="theirs")
        return mutations(self.older, self.newer, theirs, self.reads)

    def judge(self, store: Store, mutation: Mutation, outcome: Outcome) -> None:
        """Looks at a store with one mutation in it. Raises AssertionError where release 1 does not go on after a refusal."""
        session = self.restarted(store)
        try:
            verified = session.refresh(wait_s=0.0)
        except (Untrusted, StoreError) as error:
            reason = error.reason if isinstance(error, Untrusted) else Reason.UNREACHABLE
            outcome.refused[reason.value] += 1
            assert session.verified == self.kept, mutation.label
        else:
            assert verified is not None, mutation.label
            outcome.loaded.append((mutation.label, verified))

    def require_none_loaded(self, outcome: Outcome, *, keeps_blobs: bool = False) -> None:
        """Raises AssertionError where anything but the content of release 1 or 2, whole, was loaded.

        ``keeps_blobs``: the store's server may have the sound bytes of a blob at hand, so that a damaged file costs nobody anything.
        """
        whole = {self.kept.slice.snapshot, mesh("two", routes=ROUTES).digest}
        assert {verified.slice.snapshot for _, verified in outcome.loaded} <= whole
        harmless = [name for name, _ in outcome.loaded if not (keeps_blobs and name.startswith("blobs/"))]
        assert len(harmless) < MAX_HARMLESS, harmless


def histories(*, keys_of: str = "ours") -> tuple[Files, Files]:
    """A store's files after release 1 and after release 2."""
    store = MemoryStore()
    release_mesh(store, mesh("one", routes=ROUTES), keys=signing_keys(keys_of))
    older = dict(store.files)
    release_mesh(store, mesh("two", routes=ROUTES), keys=signing_keys(keys_of))
    return older, dict(store.files)


def mutations(older: Files, newer: Files, theirs: Files, names: list[str]) -> Iterator[Mutation]:
    """Flipped bits, cuts, absence, growth, and the bytes of other files, older files and other keys' files; seeded."""
    rng = random.Random(2)
    for name in names:
        whole = newer[name]
        for _ in range(FLIPS):
            place, bit = rng.randrange(len(whole)), rng.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            yield Mutation(f"{name}: bit {bit} of byte {place} flipped", name, bytes(flipped))
        for length in sorted({rng.randrange(len(whole)) for _ in range(CUTS)}):
            yield Mutation(f"{name}: cut to {length} bytes", name, whole[:length])
        yield Mutation(f"{name}: absent", name, None)
        yield Mutation(f"{name}: a byte more", name, whole + b"\x00")
        yield Mutation(f"{name}: endless", name, whole + b" " * ENDLESS_BYTES)
        for other in names:
            if other != name:
                yield Mutation(f"{name}: the bytes of {other}", name, newer[other])
        for other, raw in older.items():
            if raw != whole:
                yield Mutation(f"{name}: the older bytes of {other}", name, raw)
        if theirs.get(name, whole) != whole:
            yield Mutation(f"{name}: of other keys", name, theirs[name])
