"""What one look at a store accepts, refuses and remembers, without Trio."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
import zstandard

from runtime.bootstrap import Bootstrap
from runtime.fetch.saved import NAME, Saved
from runtime.fetch.session import Now, Session, wall_clock
from snapshot.blobs import inflate
from snapshot.encode import FORMAT, decode, encode
from snapshot.index import Selector, Snapshot
from snapshot.store import Store
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.publisher import sign_timestamp
from tests.stores import DAY, NOW, MemoryStore, mesh, release_mesh, signing_keys


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    (tmp_path / "root.json").write_bytes(signing_keys().root)
    return Bootstrap(
        selector=Selector(name="test"), store="memory", root=str(tmp_path / "root.json"), state=str(tmp_path / "state")
    )


def open_session(bootstrap: Bootstrap, store: Store, *, now: Now = wall_clock) -> Session:
    """A session with an empty memory of its own, as after a restart."""
    folder = Path(bootstrap.root).parent / f"trust-{secrets.token_hex(8)}"
    folder.mkdir()
    return Session(bootstrap, store, folder, now=now)


def refusal(session: Session) -> Reason:
    with pytest.raises(Untrusted) as caught:
        session.refresh()
    return caught.value.reason


def test_an_unchanged_store_is_no_news(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    assert session.refresh() is not None
    store.reads.clear()
    assert session.refresh() is None
    assert store.reads == ["metadata/timestamp.json"]


def test_only_blobs_that_changed_are_read(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one", routes=50))
    session = open_session(bootstrap, store)
    session.refresh()
    store.reads.clear()
    release_mesh(store, mesh("two", routes=50))
    store.reads.clear()
    session.refresh()
    blobs = [name for name in store.reads if name.startswith("blobs/")]
    assert len(blobs) <= 4, "the snapshot's index, the slice's index and one block, of which one may be stored plain"


def test_a_store_that_went_back_as_a_whole_is_a_rollback(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    older = dict(store.files)
    newest = release_mesh(store, mesh("two"))
    session = open_session(bootstrap, store)
    session.refresh()
    store.files = older
    assert refusal(session) is Reason.ROLLBACK
    assert session.verified is not None
    assert session.verified.release == newest


def test_a_rollback_is_noticed_after_a_restart_too(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    older = dict(store.files)
    release_mesh(store, mesh("two"))
    session = open_session(bootstrap, store)
    session.refresh()
    session.persist()
    session = open_session(bootstrap, MemoryStore(older))
    session.restore()
    assert refusal(session) is Reason.ROLLBACK


def test_an_expired_store_is_refused_by_a_proxy_that_never_ran(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"), now=NOW - 2 * DAY)
    assert refusal(open_session(bootstrap, store)) is Reason.EXPIRED


def test_a_frozen_store_is_noticed_when_its_timestamp_runs_out(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    clock = [NOW]
    session = open_session(bootstrap, store, now=lambda: clock[0])
    session.refresh()
    clock[0] = NOW + DAY - DAY / 1000
    assert session.refresh() is None
    clock[0] = NOW + DAY
    assert refusal(session) is Reason.EXPIRED


def test_a_renewed_timestamp_gives_the_same_release_longer_life(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release = release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    first = session.refresh()
    sign_timestamp(store, signing_keys(), now=NOW + DAY / 2)
    again = session.refresh()
    assert first is not None
    assert again is not None
    assert again.release == release
    assert again.fresh_until > first.fresh_until
    assert again.fetched_at == first.fetched_at


def test_a_saved_slice_starts_a_proxy_without_a_store_and_says_when_it_is_stale(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release = release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    session.refresh()
    session.persist()

    def restored_at(now: datetime) -> bool:
        verified = open_session(bootstrap, MemoryStore(), now=lambda: now).restore()
        assert verified is not None
        assert (verified.release, verified.slice.snapshot) == (release, mesh("one").digest)
        return verified.fresh

    assert restored_at(NOW)
    assert not restored_at(NOW + 400 * DAY)


@pytest.mark.parametrize("place", [0, 10, 100, -100, -1])
def test_a_damaged_saved_slice_is_refused(bootstrap: Bootstrap, place: int) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    session.refresh()
    session.persist()
    path = Path(bootstrap.state) / NAME
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0x55
    path.write_bytes(damaged)
    with pytest.raises(Untrusted):
        open_session(bootstrap, MemoryStore()).restore()


def test_a_saved_slice_under_another_ones_name_is_refused(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    session.refresh()
    session.persist()
    path = Path(bootstrap.state) / NAME
    saved = decode(inflate(path.read_bytes(), max_bytes=1 << 24), Saved)
    forged, name = mesh("forged"), mesh("one").digest
    blobs = {**saved.blobs, **forged.blobs, name: encode(forged.index)}
    path.write_bytes(zstandard.compress(encode(msgspec.structs.replace(saved, blobs=blobs))))
    with pytest.raises(Untrusted) as caught:
        open_session(bootstrap, MemoryStore()).restore()
    assert caught.value.reason is Reason.MISSING


def test_a_saved_slice_of_another_root_is_refused(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    session = open_session(bootstrap, store)
    session.refresh()
    session.persist()
    Path(bootstrap.root).write_bytes(signing_keys("theirs").root)
    with pytest.raises(Untrusted) as caught:
        open_session(bootstrap, MemoryStore()).restore()
    assert caught.value.reason is Reason.WRONG_SIGNATURE


def test_a_store_of_another_root_is_refused(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"), keys=signing_keys("theirs"))
    assert refusal(open_session(bootstrap, store)) is Reason.WRONG_SIGNATURE


def test_a_pinned_root_that_does_not_sign_itself_is_refused(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    root = msgspec.json.decode(signing_keys().root)
    root["signatures"] = msgspec.json.decode(signing_keys("theirs").root)["signatures"]
    Path(bootstrap.root).write_bytes(msgspec.json.encode(root))
    assert refusal(open_session(bootstrap, store)) is Reason.UNKNOWN_ROOT


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"format": FORMAT + 1}, Reason.FORMAT), ({"features": ("teleport",)}, Reason.FEATURE)],
)
def test_a_snapshot_that_this_weft_cannot_run_is_refused(
    bootstrap: Bootstrap, change: dict[str, object], reason: Reason
) -> None:
    store = MemoryStore()
    made = mesh("one")
    release_mesh(store, Snapshot(msgspec.structs.replace(made.index, **change), made.blobs))
    assert refusal(open_session(bootstrap, store)) is reason


def test_a_selector_that_nothing_fits_is_told(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    asked = msgspec.structs.replace(bootstrap, selector=Selector(namespace="elsewhere"))
    assert refusal(open_session(asked, store)) is Reason.NO_SLICE


def test_an_empty_store_and_another_channel_are_missing(bootstrap: Bootstrap) -> None:
    assert refusal(open_session(bootstrap, MemoryStore())) is Reason.MISSING
    store = MemoryStore()
    release_mesh(store, mesh("one"), channel="canary")
    assert refusal(open_session(bootstrap, store)) is Reason.MISSING


def test_a_state_directory_that_cannot_be_written_costs_no_news(bootstrap: Bootstrap) -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    Path(bootstrap.state).write_text("a file where the directory should be")
    session = open_session(bootstrap, store)
    assert session.refresh() is not None
    with pytest.raises(Untrusted) as caught:
        session.persist()
    assert caught.value.reason is Reason.STATE
    assert session.verified is not None


def test_the_wall_clock_is_in_utc() -> None:
    assert wall_clock().utcoffset() == 0 * DAY
