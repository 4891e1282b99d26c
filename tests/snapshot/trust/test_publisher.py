"""Publishing: one moment at which a release becomes true, whoever races and whenever the publisher dies."""

from __future__ import annotations

import pytest

from snapshot.index import Snapshot
from snapshot.store import Conflict, NotFound, StoreError
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.publisher import publish, read_published, read_release, sign_timestamp
from snapshot.trust.release import Release
from tests.stores import DAY, NOW, MemoryStore, mesh, release_mesh, signing_keys

ROOT = signing_keys().root


def current(store: MemoryStore, channel: str = "stable") -> Release | None:
    published = read_published(store, ROOT, channel)
    return published.release if published else None


def draft_of(snapshot: Snapshot, commit: str) -> Release:
    return Release(
        channel="stable", commit=commit, tip=commit, snapshot=snapshot.digest, tree="t", compiler="test", time=0
    )


def test_versions_grow_and_name_what_they_replaced() -> None:
    store = MemoryStore()
    assert current(store) is None
    releases = [release_mesh(store, mesh(body)) for body in ("one", "two", "three")]
    assert [(release.version, release.previous) for release in releases] == [(1, 0), (2, 1), (3, 2)]
    assert current(store) == releases[-1]


def test_channels_share_the_versions_and_nothing_else() -> None:
    store = MemoryStore()
    stable = release_mesh(store, mesh("one"))
    canary = release_mesh(store, mesh("two"), channel="canary")
    assert (canary.version, canary.previous) == (2, 0)
    assert current(store) == stable
    assert current(store, "canary") == canary


def test_history_gives_an_earlier_release_back() -> None:
    store = MemoryStore()
    first = release_mesh(store, mesh("one"))
    release_mesh(store, mesh("two"), channel="canary")
    release_mesh(store, mesh("three"))
    published = read_published(store, ROOT, "stable")
    assert published is not None
    assert read_release(store, published, "stable", 1) == first
    for version in (2, 9):
        with pytest.raises(Untrusted) as caught:
            read_release(store, published, "stable", version)
        assert caught.value.reason is Reason.MISSING


def test_of_two_publishers_one_wins_and_the_other_is_told() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    base = read_published(store, ROOT, "stable")
    ours, theirs = mesh("ours"), mesh("theirs")
    won = publish(store, signing_keys(), draft_of(ours, "a"), ours, published=base, now=NOW)
    with pytest.raises(Conflict):
        publish(store, signing_keys(), draft_of(theirs, "b"), theirs, published=base, now=NOW)
    assert current(store) == won
    third = release_mesh(store, mesh("three"))
    assert third.version > won.version + 1, "the loser's version is not given to another release"


def test_two_first_publishers_race_too() -> None:
    store = MemoryStore()
    ours, theirs = mesh("ours"), mesh("theirs")
    won = publish(store, signing_keys(), draft_of(ours, "a"), ours, published=None, now=NOW)
    with pytest.raises(Conflict):
        publish(store, signing_keys(), draft_of(theirs, "b"), theirs, published=None, now=NOW)
    assert current(store) == won


def writes_of_one_publication() -> int:
    store = MemoryStore()
    release_mesh(store, mesh("one", routes=3))
    before = store.writes
    release_mesh(store, mesh("two", routes=3))
    return store.writes - before


WRITES = writes_of_one_publication()


@pytest.mark.parametrize("step", range(1, WRITES + 1))
def test_a_publisher_that_dies_at_any_write_leaves_the_old_release(step: int) -> None:
    store = MemoryStore()
    old = release_mesh(store, mesh("one", routes=3))
    dying = MemoryStore(store.files, fail_at=step)
    with pytest.raises(StoreError, match="killed"):
        release_mesh(dying, mesh("two", routes=3))
    assert current(dying) == old
    # The next publisher goes on over the left-overs, and never gives a version twice.
    left_over = {name for name in dying.files if name.endswith(".targets.json")}
    again = MemoryStore(dying.files)
    new = release_mesh(again, mesh("two", routes=3))
    assert current(again) == new
    assert f"metadata/{new.version}.targets.json" not in left_over


@pytest.mark.parametrize("step", range(1, WRITES + 3))
def test_a_first_publisher_that_dies_leaves_an_empty_store_that_can_be_published_to(step: int) -> None:
    dying = MemoryStore(fail_at=step)
    try:
        release_mesh(dying, mesh("one", routes=3))
    except StoreError:
        assert current(dying) is None
    new = release_mesh(MemoryStore(dying.files), mesh("two", routes=3))
    assert new.snapshot == mesh("two", routes=3).digest


def test_a_store_of_other_keys_is_not_published_to() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"), keys=signing_keys("theirs"))
    before = dict(store.files)
    with pytest.raises(Untrusted) as caught:
        release_mesh(store, mesh("two"))
    assert caught.value.reason is Reason.WRONG_SIGNATURE
    assert store.files == before


def test_a_timestamp_is_renewed_and_the_snapshot_only_when_half_its_life_is_gone() -> None:
    store = MemoryStore()
    release = release_mesh(store, mesh("one"))
    renewed = sign_timestamp(store, signing_keys(), now=NOW + DAY)
    assert (renewed.timestamp_until, renewed.snapshot_until) == (NOW + 2 * DAY, NOW + 7 * DAY)
    renewed = sign_timestamp(store, signing_keys(), now=NOW + 4 * DAY)
    assert (renewed.timestamp_until, renewed.snapshot_until) == (NOW + 5 * DAY, NOW + 11 * DAY)
    assert current(store) == release


def test_there_is_nothing_to_renew_in_an_empty_store() -> None:
    with pytest.raises(NotFound):
        sign_timestamp(MemoryStore(), signing_keys(), now=NOW)


def test_what_is_not_authentic_is_not_signed_over() -> None:
    store = MemoryStore()
    release_mesh(store, mesh("one"))
    name = "metadata/1.targets.json"
    store.files[name] = store.files[name].replace(b"stable", b"stabby")
    with pytest.raises(Untrusted) as caught:
        sign_timestamp(store, signing_keys(), now=NOW)
    assert caught.value.reason is Reason.DIGEST
