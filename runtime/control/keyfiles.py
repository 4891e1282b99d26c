"""Files of the control plane's state: written whole or not at all, private ones readable by their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from snapshot.store import not_written

PRIVATE = 0o600
PUBLIC = 0o644


class StateError(Exception):
    """The state folder is not usable; the message names the file and the next step."""


def write(path: Path, content: bytes, *, mode: int) -> None:
    """Replaces a file atomically: temporary file, fsync, rename, fsync of the folder. The mode holds from the first byte on. Raises StateError."""
    try:
        _replace(path, content, mode=mode)
    except OSError as error:
        raise StateError(f"cannot write {path}: {not_written(error)}") from None


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path) -> bytes:
    """Reads a public file; raises StateError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from None


def read_private(path: Path) -> bytes:
    """Reads a key or a token; raises StateError where others than its owner could read it too."""
    content = read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StateError(f"{path} can be read by others than its owner: chmod 600 {path}")
    return content
