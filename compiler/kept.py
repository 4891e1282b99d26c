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
from collections.abc import Callable, Container, Iterable
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


MAX_NEWEST_BYTES = 4 * 1024 * 1024
"""How much lies in one file before it is spread over the others."""
_NEWEST = "newest"


class Kept:
    """Owns one folder: a file of what was put in last, and for the rest one per first byte of names, read when one of its names is asked for.

    So a small change writes one small file, however much is kept. When the newest file
    is spread, what is not alive any more goes from the files that are written.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._read: dict[str, _Entries] = {}
        self._put: _Entries = {}

    def get(self, name: bytes) -> bytes | None:
        """The value of a name (a digest of at least one byte), or None."""
        for entries in (self._put, self._file(_NEWEST)):
            if name in entries:
                return entries[name]
        return self._file(_file_of(name)).get(name)

    def put(self, name: bytes, value: bytes) -> None:
        """Takes a value in, to be written by ``save``."""
        self._put[name] = value

    def save(self, alive: Callable[[], Iterable[bytes]]) -> None:
        """Writes what was put in, each file whole or not at all; ``alive`` are the names to keep, asked for when there is too much."""
        if not self._put:
            return
        newest, self._put = {**self._file(_NEWEST), **self._put}, {}
        if sum(map(len, newest.values())) > MAX_NEWEST_BYTES:
            living = set(alive())
            self._spread({name: value for name, value in newest.items() if name in living}, living)
            newest = {}
        self._write(_NEWEST, newest)

    def _spread(self, entries: _Entries, living: Container[bytes]) -> None:
        files: dict[str, _Entries] = {}
        for name, value in entries.items():
            files.setdefault(_file_of(name), {})[name] = value
        for file, new in files.items():
            old = self._file(file)
            self._write(file, {**{name: value for name, value in old.items() if name in living}, **new})

    def _file(self, file: str) -> _Entries:
        found = self._read.get(file)
        if found is None:
            found = self._read[file] = self._load(file)
        return found

    def _load(self, file: str) -> _Entries:
        try:
            body = opened(self._key, self._purpose(file), (self._folder / file).read_bytes())
            return {} if body is None else msgspec.msgpack.decode(body, type=_Entries)
        except (OSError, msgspec.DecodeError):
            return {}

    def _write(self, file: str, entries: _Entries) -> None:
        self._read[file] = entries
        body = msgspec.msgpack.encode(dict(sorted(entries.items())))
        with contextlib.suppress(OSError):
            # A full disk, a read-only checkout: the next compilation does the work again.
            write_whole(self._folder / file, authenticated(self._key, self._purpose(file), body))

    def _purpose(self, file: str) -> bytes:
        return f"{self._folder.name}/{file}".encode()


def _file_of(name: bytes) -> str:
    return f"{name[0]:02x}"


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file at once, so that no reader sees half of it; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
