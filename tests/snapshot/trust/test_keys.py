"""Keys on disk: made once, private, and of the root that lists them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from snapshot.trust.keys import KeyProblem, create_keys, load_keys
from snapshot.trust.layout import ONLINE_ROLES, PUBLISHER_ROLES, ROLES
from tests.stores import NOW, MemoryStore, mesh, release_mesh


def test_keys_are_made_private_and_publish(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    root = create_keys(folder, now=NOW)
    assert root == (folder / "root.json").read_bytes()
    assert {stat.S_IMODE((folder / f"{role}.pem").stat().st_mode) for role in ROLES} == {0o600}
    assert release_mesh(MemoryStore(), mesh("one"), keys=load_keys(folder, PUBLISHER_ROLES)).version == 1


@pytest.mark.parametrize("taken", ["root.json", "root.pem", "timestamp.pem"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(KeyProblem, match=taken):
        create_keys(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == [taken]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_keys(tmp_path, now=NOW)
    (tmp_path / "targets.pem").chmod(mode)
    with pytest.raises(KeyProblem, match="chmod 600"):
        load_keys(tmp_path, PUBLISHER_ROLES)
    assert set(load_keys(tmp_path, ONLINE_ROLES).signers) == set(ONLINE_ROLES), "the other keys are not touched"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    create_keys(tmp_path, now=NOW)
    (tmp_path / "targets.pem").unlink()
    with pytest.raises(KeyProblem, match=r"targets\.pem"):
        load_keys(tmp_path, PUBLISHER_ROLES)


def test_a_key_of_another_root_is_refused(tmp_path: Path) -> None:
    create_keys(tmp_path / "ours", now=NOW)
    create_keys(tmp_path / "theirs", now=NOW)
    (tmp_path / "theirs" / "targets.pem").replace(tmp_path / "ours" / "targets.pem")
    with pytest.raises(KeyProblem, match="not a targets key"):
        load_keys(tmp_path / "ours", PUBLISHER_ROLES)


def test_a_key_that_is_no_key_is_refused(tmp_path: Path) -> None:
    create_keys(tmp_path, now=NOW)
    (tmp_path / "snapshot.pem").write_text("-----BEGIN NOTHING-----")
    with pytest.raises(KeyProblem, match=r"snapshot\.pem"):
        load_keys(tmp_path, ONLINE_ROLES)


def test_a_root_that_is_no_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="cannot read"):
        load_keys(tmp_path, ONLINE_ROLES)
    (tmp_path / "root.json").write_text("{}")
    with pytest.raises(KeyProblem, match="not a TUF root"):
        load_keys(tmp_path, ONLINE_ROLES)
