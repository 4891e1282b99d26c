"""What the control plane gives ahead: enough to need nothing else, nothing that is believed, and no error whatever the store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.bootstrap import Bootstrap
from runtime.control.ahead import Library
from runtime.fetch.session import Session
from snapshot.ahead import Files, Wanted
from snapshot.index import Selector
from snapshot.store import Found
from snapshot.trust.failure import Untrusted
from snapshot.trust.layout import MAX_BYTES, TIMESTAMP
from tests.stores import MemoryStore, mesh, release_mesh, signing_keys

SELECTOR = Selector(name="test")


class Foresighted(MemoryStore):
    """A store whose server gives ahead. ``tamper`` is what somebody on the way makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Files] = []
        self.tampered: Files = {}

    def read_news(self, wanted: Wanted, version: str, *, wait_s: float = 0.0) -> tuple[Found, Files] | None:
        found = self.read_unless(TIMESTAMP, version, max_bytes=MAX_BYTES["timestamp"], wait_s=wait_s)
        if found is None:
            return None
        self.given.append({**Library(MemoryStore(self.files)).files_for(wanted), **self.tampered})
        return found, self.given[-1]


@pytest.fixture
def store() -> Foresighted:
    return Foresighted()


@pytest.fixture
def session(store: Foresighted, tmp_path: Path) -> Session:
    (tmp_path / "root.json").write_bytes(signing_keys().root)
    (tmp_path / "trust").mkdir()
    state, root = str(tmp_path / "state"), str(tmp_path / "root.json")
    return Session(Bootstrap(selector=SELECTOR, store="s", root=root, state=state), store, tmp_path / "trust")


def test_a_release_is_fetched_with_no_read_but_the_timestamps(store: Foresighted, session: Session) -> None:
    for body in ("one", "two"):
        release_mesh(store, mesh(body, routes=20))
        store.reads.clear()
        verified = session.refresh()
        assert verified is not None
        assert verified.slice.snapshot == mesh(body, routes=20).digest
        assert store.reads == [TIMESTAMP]


def test_what_the_proxy_has_is_not_given_again(store: Foresighted, session: Session) -> None:
    for body in ("one", "two"):
        release_mesh(store, mesh(body, routes=20))
        session.refresh()
    first, second = ([name for name in given if name.startswith("blobs/")] for given in store.given)
    assert len(first) > 20
    changed = set(mesh("two", routes=20).blobs) - set(mesh("one", routes=20).blobs)
    assert {name.rpartition("/")[2].removesuffix(".zst") for name in second} == {
        *changed,
        mesh("two", routes=20).digest,
    }


def test_what_is_given_is_verified_like_any_other_file(store: Foresighted, session: Session) -> None:
    release_mesh(store, mesh("one"))
    session.refresh()
    kept = session.verified
    release_mesh(store, mesh("two"))
    assert kept is not None
    honest = Library(store).files_for(Wanted("stable", SELECTOR, have=kept.slice.snapshot))
    assert len([content for content in honest.values() if content]) >= 6
    for name, content in honest.items():
        if name == "metadata/2.root.json" or content is None:
            continue
        for bad in (content[:-1], content + b"\0", b""):
            store.tampered = {name: bad}
            with pytest.raises(Untrusted):
                session.refresh()
            assert session.verified == kept
    store.tampered = {}
    assert session.refresh() is not None


def test_an_empty_or_a_broken_store_gives_what_it_can_and_raises_nothing(store: Foresighted) -> None:
    wanted = Wanted("stable", SELECTOR)
    assert Library(store).files_for(wanted) == {"metadata/2.root.json": None}
    release_mesh(store, mesh("one"))
    whole = Library(store).files_for(wanted)
    for name in sorted(set(whole) & set(store.files) | {TIMESTAMP}):
        for damaged in (b"", b"{}", b'{"signed": {"version": 1}}'):
            broken = MemoryStore({**store.files, name: damaged})
            given = Library(broken).files_for(wanted)
            assert {key: raw for key, raw in given.items() if raw != whole.get(key)}.keys() <= {name}
    missing = Library(store).files_for(Wanted("other", Selector(name="nobody")))
    assert set(missing) <= set(whole)


def test_a_file_that_was_damaged_for_a_moment_is_given_whole_again() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    wanted = Wanted("stable", SELECTOR)
    whole = Library(store).files_for(wanted)
    for name in sorted(set(whole) & set(store.files)):
        library, sound = Library(store), store.files[name]
        for damaged in (b"", sound[:-1], sound[:-1] + b"!"):
            store.files[name] = damaged
            library.files_for(wanted)
            store.files[name] = sound
            assert library.files_for(wanted) == whole, name


def test_a_root_that_came_later_is_given_at_once(store: Foresighted) -> None:
    release_mesh(store, mesh("one"))
    library = Library(store)
    assert library.files_for(Wanted("stable", SELECTOR))["metadata/2.root.json"] is None
    store.put("metadata/2.root.json", b"a newer root")
    assert library.files_for(Wanted("stable", SELECTOR))["metadata/2.root.json"] == b"a newer root"
