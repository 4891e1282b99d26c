"""The folder of one ``weft dev``: private, gone at the end, and where the end was a SIGKILL, gone when the next one starts.

A living session holds a lock in its folder, which the kernel takes back however the process ends; a number of a process would be given to
another one some day.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "weft-dev-"
LOCK = ".lock"


@contextmanager
def session_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder below ``parent`` (the system's temporary folder), removed at the end. Left-overs of killed sessions are removed first."""
    place = parent or Path(tempfile.gettempdir())
    remove_left_overs(place)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as name:
        folder = Path(name)
        with (folder / f"{LOCK}-new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only a lock that is held already gets the name that others look for.
            (folder / f"{LOCK}-new").rename(folder / LOCK)
            yield folder


def remove_left_overs(parent: Path) -> list[Path]:
    """Removes this user's session folders that nobody lives in, and returns them. What cannot be removed stays."""
    removed = []
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        # Another user's folder, or none of ours, is not looked into.
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            continue
        with contextlib.suppress(OSError), (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed
