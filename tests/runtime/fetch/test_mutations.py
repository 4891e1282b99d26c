"""A proxy that runs release 1 looks at a store of release 2 in which one thing is wrong, over a thousand times."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.bootstrap import Bootstrap
from runtime.fetch.news import VerifiedSlice
from runtime.fetch.session import Session
from snapshot.index import Selector
from snapshot.trust.failure import Reason, Untrusted
from tests.stores import MemoryStore, mesh, release_mesh, signing_keys

Files = dict[str, bytes]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    (tmp_path / "root.json").write_bytes(signing_keys().root)
    return Bootstrap(
        selector=Selector(name="test"), store="memory", root=str(tmp_path / "root.json"), state=str(tmp_path / "state")
    )


def histories(*, keys_of: str = "ours") -> tuple[Files, Files]:
    """A store's files after release 1 and after release 2."""
    store = MemoryStore()
    release_mesh(store, mesh("one", routes=8), keys=signing_keys(keys_of))
    older = dict(store.files)
    release_mesh(store, mesh("two", routes=8), keys=signing_keys(keys_of))
    return older, dict(store.files)


def restarted(bootstrap: Bootstrap, store: MemoryStore) -> Session:
    """A session that starts from the state directory alone."""
    folder = Path(bootstrap.root).with_name("trust")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session = Session(bootstrap, store, folder)
    session.restore()
    return session


def what_is_read(bootstrap: Bootstrap, files: Files) -> list[str]:
    """The files that a proxy of release 1 needs to reach release 2."""
    store = MemoryStore(files)
    session = restarted(bootstrap, store)
    assert session.refresh() is not None
    return sorted(set(store.reads) & set(files))


def mutations(older: Files, newer: Files, theirs: Files, names: list[str]) -> Iterator[tuple[str, Files]]:
    rng = random.Random(2)
    for name in names:
        whole = newer[name]
        for _ in range(110):
            place, bit = rng.randrange(len(whole)), rng.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            yield f"{name}: bit {bit} of byte {place} flipped", {**newer, name: bytes(flipped)}
        for length in sorted({rng.randrange(len(whole)) for _ in range(40)}):
            yield f"{name}: cut to {length} bytes", {**newer, name: whole[:length]}
        yield f"{name}: absent", {key: raw for key, raw in newer.items() if key != name}
        yield f"{name}: a byte more", {**newer, name: whole + b"\x00"}
        yield f"{name}: endless", {**newer, name: whole + b" " * 17_000_000}
        for other in names:
            if other != name:
                yield f"{name}: the bytes of {other}", {**newer, name: newer[other]}
        for other, raw in older.items():
            if raw != whole:
                yield f"{name}: the older bytes of {other}", {**newer, name: raw}
        if theirs.get(name, whole) != whole:
            yield f"{name}: of other keys", {**newer, name: theirs[name]}


def test_none_of_a_thousand_mutations_is_loaded_and_release_1_stays(bootstrap: Bootstrap) -> None:
    older, newer = histories()
    _, theirs = histories(keys_of="theirs")
    first = restarted(bootstrap, MemoryStore(older))
    first.refresh()
    first.persist()
    kept = first.verified
    assert kept is not None
    refused: Counter[Reason] = Counter()
    loaded: list[tuple[str, VerifiedSlice]] = []
    for label, files in mutations(older, newer, theirs, what_is_read(bootstrap, newer)):
        session = restarted(bootstrap, MemoryStore(files))
        try:
            verified = session.refresh()
        except Untrusted as error:
            refused[error.reason] += 1
            assert session.verified == kept, label
        else:
            assert verified is not None, label
            loaded.append((label, verified))
        # What is let through is no other content: a flip that JSON or zstd reads as the same value (the case of a hexadecimal
    # signature), and the timestamp of release 1, which says nothing new.
    assert {verified.slice.snapshot for _, verified in loaded} <= {kept.slice.snapshot, mesh("two", routes=8).digest}
    assert len(loaded) < 20, loaded
    assert refused.total() >= 1_000
    assert set(refused) >= {Reason.DIGEST, Reason.UNDECODABLE, Reason.WRONG_SIGNATURE, Reason.TOO_LARGE, Reason.MISSING}
