"""The Updater's memory: whose it is, and what becomes of it when its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.fetch.folder import PREFIX, private_folder, remove_abandoned

HOLD = """
import sys, time
from pathlib import Path
from runtime.fetch.folder import private_folder

with private_folder(Path(sys.argv[1])) as folder:
    (folder / "timestamp.json").write_text("{}")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a process that was killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        remove_abandoned(tmp_path)
        assert (folder / "timestamp.json").exists(), "its process lives"
        process.send_signal(signal.SIGKILL)
    assert folder.exists()
    return folder


@pytest.mark.integration
def test_the_folder_of_a_killed_process_is_removed_by_the_next_start(tmp_path: Path, killed: Path) -> None:
    with private_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    with private_folder(tmp_path) as first:
        (first / "root.json").write_text("{}")
        with private_folder(tmp_path) as second:
            assert first != second
            assert (first / "root.json").exists()


def test_only_our_own_folders_of_that_name_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, link, theirs = tmp_path / "other", tmp_path / f"{PREFIX}link", tmp_path / f"{PREFIX}theirs"
    other.mkdir()
    theirs.mkdir()
    (tmp_path / f"{PREFIX}file").write_text("no folder")
    link.symlink_to(other)
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
    remove_abandoned(tmp_path)
    assert theirs.exists()
    monkeypatch.undo()
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", f"{PREFIX}file", f"{PREFIX}link"]


def test_a_folder_is_its_owners_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    with private_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "root_history").mkdir()
    assert not folder.exists()
