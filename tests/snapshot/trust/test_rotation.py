"""Changing keys: whoever reads, with whatever memory, verifies before, during and after; an interrupted rotation is finished by the next."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from snapshot.store import StoreError
from snapshot.trust.chain import verify_chain
from snapshot.trust.client import fetch_release
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.history import history
from snapshot.trust.keys import KeyProblem, create_keys, load_keys, read_root
from snapshot.trust.layout import MAX_BYTES, ONLINE_ROLES, PUBLISHER_ROLES, ROLES, TIMESTAMP
from snapshot.trust.publisher import read_published, read_release, sign_timestamp
from snapshot.trust.release import Release
from snapshot.trust.rotation import rotate, rotation_steps
from snapshot.trust.source import read_from
from tests.stores import DAY, NOW, MemoryStore, mesh, release_mesh


class Desk:
    """A keys directory, a store that one release is in, and a client with a memory, which pins the first root."""

    def __init__(self, folder: Path, *, signed: timedelta = timedelta()) -> None:
        self.keys = folder / "keys"
        self.pinned = create_keys(self.keys, now=NOW + signed)
        self.store = MemoryStore()
        self.first = self.release("one", age=signed)
        self._memory = folder / "memory"
        self._memory.mkdir()

    def release(self, body: str, *, age: timedelta = timedelta()) -> Release:
        return release_mesh(self.store, mesh(body), keys=load_keys(self.keys, PUBLISHER_ROLES), now=NOW + age)

    def rotate(self, role: str, store: MemoryStore | None = None) -> list[str]:
        told: list[str] = []
        rotate(store or self.store, self.keys, role, now=NOW, tell=told.append)
        return told

    def follow(self) -> Release:
        """What python-tuf's Updater, remembering what it saw, and our verifier say."""
        timestamp = self.store.read(TIMESTAMP, max_bytes=MAX_BYTES["timestamp"])
        return fetch_release(self.store, self.pinned, self._memory, "stable", timestamp=timestamp).release

    def believed(self) -> Release | None:
        """What a reader without a memory believes, expired or not."""
        published = read_published(self.store, self.pinned, "stable")
        assert published is not None
        return published.release


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("role", ROLES)
def test_a_client_that_pins_the_first_root_follows_every_rotation(role: str, desk: Desk) -> None:
    assert desk.follow() == desk.first
    for _ in range(2):
        desk.rotate(role)
        assert desk.follow() == desk.first
    second = desk.release("two")
    assert desk.follow() == second
    assert second.version > desk.first.version
    assert second.previous == desk.first.version


@pytest.mark.parametrize("role", ROLES)
def test_the_old_key_can_sign_nothing_any_more(role: str, desk: Desk, tmp_path: Path) -> None:
    old = load_keys(desk.keys, ROLES)
    desk.rotate(role)
    before = dict(desk.store.files)
    if role == "root":
        _, root = read_root(desk.keys)
        assert old.signers["root"][0].public_key.keyid not in root.roles["root"].keyids
        return
    with pytest.raises(Untrusted, match="was rotated"):
        release_mesh(desk.store, mesh("two"), keys=old)
    assert desk.store.files[TIMESTAMP] == before[TIMESTAMP]
    if role in ONLINE_ROLES:
        with pytest.raises(Untrusted, match="was rotated"):
            sign_timestamp(desk.store, old, now=NOW + 5 * DAY)


class Watched(MemoryStore):
    """Lets a reader look after every write."""

    def __init__(self, desk: Desk, *, fail_at: int = 0) -> None:
        super().__init__(fail_at=fail_at)
        self.files = desk.store.files
        self._desk = desk
        self.seen: list[Release | None] = []

    def put(self, name: str, content: bytes) -> None:
        super().put(name, content)
        self._look()

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        version = super().replace(name, content, expected=expected)
        self._look()
        return version

    def _look(self) -> None:
        self.seen += [self._desk.believed(), self._desk.follow()]


@pytest.mark.parametrize(("role", "writes"), [("root", 1), ("timestamp", 3), ("snapshot", 4), ("targets", 5)])
def test_readers_verify_after_every_single_write_of_a_rotation(role: str, writes: int, desk: Desk) -> None:
    watched = Watched(desk)
    desk.rotate(role, watched)
    assert watched.seen == [desk.first] * (2 * writes)


@pytest.mark.parametrize(("role", "step"), [(role, step) for role in ROLES for step in range(1, 6)])
def test_a_rotation_that_dies_at_any_write_is_finished_by_the_next(role: str, step: int, desk: Desk) -> None:
    try:
        desk.rotate(role, Watched(desk, fail_at=step))
    except StoreError:
        assert desk.believed() == desk.first
        assert (desk.keys / f"{role}.pem.next").exists()
        assert "interrupted" in desk.rotate(role)[0]
    assert not (desk.keys / f"{role}.pem.next").exists()
    keys = load_keys(desk.keys, ROLES)
    assert keys.root == desk.store.files.get(f"metadata/{read_root(desk.keys)[1].version}.root.json")
    assert desk.follow() == desk.first
    assert desk.follow() != desk.release("two") == desk.follow()


@pytest.mark.parametrize("role", ROLES)
def test_what_has_expired_long_ago_can_still_be_rotated(role: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, signed=-400 * DAY)
    with pytest.raises(Untrusted) as caught:
        desk.follow()
    assert caught.value.reason is Reason.EXPIRED
    desk.rotate(role)
    assert desk.believed() == desk.first
    new = desk.release("two")
    assert desk.follow() == new


@pytest.mark.parametrize("role", [role for role in ROLES if role != "root"])
def test_a_role_whose_key_is_lost_gets_a_new_one(role: str, desk: Desk) -> None:
    (desk.keys / f"{role}.pem").unlink()
    desk.rotate(role)
    assert desk.follow() == desk.first
    assert desk.release("two") == desk.follow()


def test_without_the_root_key_nothing_is_begun(desk: Desk) -> None:
    (desk.keys / "root.pem").unlink()
    before = dict(desk.store.files)
    with pytest.raises(KeyProblem, match=r"root\.pem"):
        desk.rotate("timestamp")
    assert desk.store.files == before
    assert not (desk.keys / "timestamp.pem.next").exists()


def test_a_store_with_nothing_in_it_is_published_to_after_a_rotation(tmp_path: Path) -> None:
    pinned = create_keys(tmp_path, now=NOW)
    store = MemoryStore()
    rotate(store, tmp_path, "targets", now=NOW, tell=lambda _: None)
    release_mesh(store, mesh("one"), keys=load_keys(tmp_path, PUBLISHER_ROLES))
    assert verify_chain(pinned, read_from(store)).root.version == 3


def test_old_keys_are_kept_aside(desk: Desk) -> None:
    before = (desk.keys / "targets.pem").read_bytes()
    desk.rotate("targets")
    (kept,) = (desk.keys / "retired").iterdir()
    assert kept.read_bytes() == before
    assert (desk.keys / "targets.pem").read_bytes() != before


def test_history_outlives_a_key_but_a_rollback_does_not_build_on_it(desk: Desk) -> None:
    desk.rotate("targets")
    second = desk.release("two")
    published = read_published(desk.store, desk.pinned, "stable")
    assert published is not None
    told = list(history(desk.store, published, "stable"))
    assert [entry.release for entry in told] == [second, desk.first]
    assert [[key.revoked for key in entry.keys] for entry in told] == [[False], [True]]
    with pytest.raises(Untrusted, match="key rotation"):
        read_release(desk.store, published, "stable", desk.first.version)


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_history_reaches_behind_the_root_that_is_pinned_where_its_key_vouches_for_older_ones(
    desk: Desk, role: str
) -> None:
    for _ in range(2):
        desk.rotate(role)
    second = desk.release("two")
    published = read_published(desk.store, (desk.keys / "root.json").read_bytes(), "stable")
    assert published is not None
    assert len(published.chain.roots) == 1
    told = list(history(desk.store, published, "stable"))
    assert [entry.release for entry in told] == [second, desk.first]
    assert [[key.revoked for key in entry.keys] for entry in told] == [[False], [role == "targets"]]


def test_a_root_that_the_pinned_ones_key_did_not_sign_vouches_for_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.rotate("targets")
    desk.release("two")
    create_keys(tmp_path / "other", now=NOW)
    forged = MemoryStore()
    forged.files |= desk.store.files
    forged.files["metadata/2.root.json"] = (tmp_path / "other" / "root.json").read_bytes()
    published = read_published(forged, (desk.keys / "root.json").read_bytes(), "stable")
    assert published is not None
    entries = history(forged, published, "stable")
    next(entries)
    with pytest.raises(Untrusted):
        next(entries)


def test_the_key_for_emergencies_stays_when_the_targets_key_changes(tmp_path: Path) -> None:
    pinned = create_keys(tmp_path, now=NOW, break_glass=True)
    store = MemoryStore()
    emergency = load_keys(tmp_path, PUBLISHER_ROLES, break_glass=True)
    release_mesh(store, mesh("one"), keys=emergency)
    rotate(store, tmp_path, "targets", now=NOW, tell=lambda _: None)
    release_mesh(store, mesh("two"), keys=load_keys(tmp_path, PUBLISHER_ROLES, break_glass=True))
    published = read_published(store, pinned, "stable")
    assert published is not None
    told = list(history(store, published, "stable"))
    assert [[(key.break_glass, key.revoked) for key in entry.keys] for entry in told] == [[(True, False)]] * 2


def test_an_ordinary_key_is_not_taken_for_the_one_for_emergencies(tmp_path: Path) -> None:
    create_keys(tmp_path, now=NOW)
    with pytest.raises(KeyProblem, match="--break-glass"):
        load_keys(tmp_path, PUBLISHER_ROLES, break_glass=True)
    (tmp_path / "break-glass.pem").write_bytes((tmp_path / "targets.pem").read_bytes())
    (tmp_path / "break-glass.pem").chmod(0o600)
    with pytest.raises(KeyProblem, match="not the break-glass key"):
        load_keys(tmp_path, PUBLISHER_ROLES, break_glass=True)


@pytest.mark.parametrize("role", ROLES)
def test_the_steps_are_as_many_as_are_told(role: str, desk: Desk) -> None:
    assert len(desk.rotate(role)) == len(rotation_steps(desk.keys, role))
