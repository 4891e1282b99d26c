"""The folder of a session: who lives is left alone, what a killed one left is removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weft.dev.folder import PREFIX, remove_left_overs, session_folder

LIVES = """
import sys
from pathlib import Path
from weft.dev.folder import session_folder
with session_folder(Path(sys.argv[1])) as folder:
    (folder / "file").write_text("something")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_session_leaves_nothing(tmp_path: Path) -> None:
    with session_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_lock_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}notes").mkdir()
    assert remove_left_overs(tmp_path) == []
    assert (tmp_path / f"{PREFIX}notes").exists()


@pytest.mark.integration
def test_a_living_session_is_left_alone_and_a_killed_ones_folder_goes_with_the_next_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIVES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None
        folder = Path(living.stdout.readline().strip())
        with session_folder(tmp_path):
            assert (folder / "file").exists()
        living.kill()
    assert (folder / "file").exists()
    with session_folder(tmp_path):
        assert not folder.exists()
