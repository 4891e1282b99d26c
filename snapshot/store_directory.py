"""A store in a directory: what a CI job writes and a static file host serves.

Every file appears by a rename (or link) of a synced temporary one, so a crash at any point leaves whole files only, and temporaries
that readers never look at. Compare-and-swap holds a lock on ``.lock``; readers take no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from snapshot.store import Conflict, Found, NotFound, StoreError, TooLarge, not_written, require_name


class DirectoryStore:
    """A store of files under ``path``, which is made when something is first written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The file's bytes; raises NotFound, TooLarge or StoreError."""
        try:
            with self._file(name).open("rb") as file:
                content = file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{self.path} has no {name}") from None
        except OSError as error:
            raise StoreError(f"cannot read {self._file(name)}: {error.strerror}") from None
        if len(content) > max_bytes:
            raise TooLarge(f"{self._file(name)} is larger than {max_bytes} bytes")
        return content

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:  # noqa: ARG002
        """The file and its version (the sha256 of its bytes), or None, at once, where it still has ``version``."""
        content = self.read(name, max_bytes=max_bytes)
        found = _version(content)
        return None if found == version else Found(content, found)

    def put(self, name: str, content: bytes) -> None:
        """Creates a file that never changes; other bytes under a taken name raise Conflict."""
        target = self._file(name)
        if self._holds(target, content):
            return
        with _writing(target, content) as temporary:
            try:
                # A link, unlike a rename, fails where the name is taken: of two writers one wins.
                os.link(temporary, target)
            except FileExistsError:
                self._holds(target, content)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """Replaces a file that has the version ``expected`` and returns the new version; raises Conflict."""
        target = self._file(name)
        with _writing(target, content) as temporary, self._locked():
            try:
                current: str | None = _version(target.read_bytes())
            except FileNotFoundError:
                current = None
            if current != expected:
                raise Conflict(f"{target} was written by somebody else meanwhile")
            temporary.replace(target)
        return _version(content)

    def contains(self, name: str) -> bool:
        """Whether a file of that name is there."""
        try:
            return self._file(name).is_file()
        except OSError as error:
            raise StoreError(f"cannot look for {self._file(name)}: {error.strerror}") from None

    def close(self) -> None:
        """Nothing: a directory is opened anew for each call."""

    def _file(self, name: str) -> Path:
        return self.path / require_name(name)

    def _holds(self, target: Path, content: bytes) -> bool:
        """Whether exactly these bytes are there; raises Conflict where others are."""
        try:
            held = target.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"cannot read {target}: {not_written(error)}") from None
        if held != content:
            raise Conflict(f"{target} is there already, with other bytes")
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def write_atomically(target: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes one file so that, whenever the machine stops, the old bytes or the new ones are there; raises StoreError."""
    with _writing(target, content, mode=mode) as temporary:
        temporary.replace(target)


@contextlib.contextmanager
def _writing(target: Path, content: bytes, *, mode: int = 0o644) -> Iterator[Path]:
    """A synced temporary file beside ``target``, for the caller to move; then syncs the folder. Raises StoreError for the disk's errors."""
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
        temporary = Path(path)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {not_written(error)}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
