"""What compilations keep on disk for the next one: byte strings by name, in a folder that anybody may have written to.

A name is a digest of everything that its value follows from, so an entry is never out of date, only unused. Whether a value is really what
somebody with this user's key put there is another question: a folder may come from a CI system's shared storage, restored from a branch that its
author chose. So every file is authenticated with a key that never lies in such a folder, before anything in it is decoded; without
the key, or with another one, the folder is empty. A cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import tempfile
from pathlib import Path

import msgspec

_FORMAT = b"weft kept 1\n"
_KEY_BYTES = 32
_MAC_BYTES = 32
_Entries = dict[bytes, bytes]


def authenticated(key: bytes, purpose: bytes, body: bytes) -> bytes:
    """A body with what shows that it was written with this key for this purpose."""
    return _mac(key, purpose, body) + body


def opened(key: bytes, purpose: bytes, raw: bytes) -> bytes | None:
    """The body of what ``authenticated`` wrote; None where it is anything else."""
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    return body if hmac.compare_digest(mac, _mac(key, purpose, body)) else None


def _mac(key: bytes, purpose: bytes, body: bytes) -> bytes:
    whole = hashlib.blake2b(key=key, digest_size=_MAC_BYTES)
    whole.update(_FORMAT + b"%d\n" % len(purpose) + purpose)
    whole.update(body)
    return whole.digest()


def cache_key() -> bytes | None:
    """This user's key, made when it is first asked for; None where it can be neither read nor made.

    It lies in the user's state folder, not in the cache's, and is readable by nobody else.
    """
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    path = Path(home) / "weft" / "cache-key"
    try:
        return _read_key(path) if path.exists() else _make_key(path)
    except OSError:
        return None


def _make_key(path: Path) -> bytes | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        # Of two processes that make one at the same time, the first's stays: a link never replaces.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    return _read_key(path)


def _read_key(path: Path) -> bytes | None:
    """The key, unless others may read or write it: then it authenticates nobody."""
    key = path.read_bytes()
    return key if len(key) == _KEY_BYTES and not path.stat().st_mode & 0o077 else None


class Kept:
    """Owns one folder, split by the first byte of names into files, of which each is read when one of its names is asked for.

    ``save`` keeps of those files what was asked for or put since; the rest is what an earlier state of the mesh had.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._stored: dict[int, _Entries] = {}
        self._wanted: dict[int, _Entries] = {}

    def get(self, name: bytes) -> bytes | None:
        """The value of a name (a digest of at least one byte), or None."""
        value = self._shard(name[0]).get(name)
        if value is not None:
            self._wanted.setdefault(name[0], {})[name] = value
        return value

    def put(self, name: bytes, value: bytes) -> None:
        """Takes a value in, to be written by ``save``."""
        self._shard(name[0])
        self._wanted.setdefault(name[0], {})[name] = value

    def save(self) -> None:
        """Writes the files whose entries are others than before, each whole or not at all."""
        for number, wanted in self._wanted.items():
            if wanted.keys() != self._stored[number].keys():
                self._write(number, wanted)
                self._stored[number] = wanted
        self._wanted = {}

    def _shard(self, number: int) -> _Entries:
        found = self._stored.get(number)
        if found is None:
            found = self._stored[number] = self._read(number)
        return found

    def _read(self, number: int) -> _Entries:
        try:
            body = opened(self._key, self._purpose(number), self._path(number).read_bytes())
            return {} if body is None else msgspec.msgpack.decode(body, type=_Entries)
        except (OSError, msgspec.DecodeError):
            return {}

    def _write(self, number: int, entries: _Entries) -> None:
        body = msgspec.msgpack.encode(dict(sorted(entries.items())))
        with contextlib.suppress(OSError):
            # A full disk, a read-only checkout: the next compilation does the work again.
            write_whole(self._path(number), authenticated(self._key, self._purpose(number), body))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:02x}"

    def _purpose(self, number: int) -> bytes:
        return f"{self._folder.name}/{number:02x}".encode()


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file at once, so that no reader sees half of it; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
