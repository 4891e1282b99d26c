"""The folder that is the Updater's memory for as long as one process follows a store, and the removal of those whose process was killed.

Whoever uses such a folder holds a lock on it, which the kernel lets go of however the process ends. So a folder that can be locked has no
owner any more. Only folders of our own user are looked at: the place is one that everybody may write to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "weft-trust-"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder made in it has a random name and is its owner's alone
_TRIES = 5


@contextlib.contextmanager
def private_folder(place: Path | None = None) -> Iterator[Path]:
    """An empty folder that is the caller's alone, removed at the end; before that, those that dead processes left in ``place`` are removed.

    It is in main memory where there is a place for that, for its content dies with the process anyway: on a disk, each of the Updater's renames over
    an older file may wait until the new one is written out, five waits for every release. Raises OSError.
    """
    place = place or _place()
    remove_abandoned(place)
    folder, lock = _make(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(place: Path) -> None:
    """Removes the folders in ``place`` that are this user's and that nobody holds; what cannot be removed is tried again at the next start."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _make(place: Path) -> tuple[Path, int]:
    """A new folder and the lock on it. Between the two a process that starts beside us may take it for abandoned; then there is another try."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder.stat()
            except OSError:
                os.close(lock)
                raise
            return folder, lock
    raise OSError(f"{place}: each new folder is taken away at once")


def _place() -> Path:
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
