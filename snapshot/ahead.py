"""Reading ahead: the files that a proxy will want for a release, in one answer of a server that can walk them, instead of one by one.

What comes this way is a hint and nothing more: ``AheadStore`` hands it out where the store would have been asked, to verifiers that check
every byte as if it came from there. A hint that is missing, stale or wrong costs a request, or is refused like any other wrong file.
"""

from __future__ import annotations

import contextlib
from typing import Protocol, runtime_checkable

import msgspec

from snapshot.blobs import read_blob
from snapshot.encode import FormatError
from snapshot.index import Selector
from snapshot.store import Found, NotFound, Store, StoreError, TooLarge

MAX_AHEAD_BYTES = 8 * 1024 * 1024
"""The most that one answer holds; what is beyond is read one by one."""

Files = dict[str, bytes | None]
"""Files of a store by name; None says that there is none of that name."""


class Wanted(msgspec.Struct, frozen=True):
    """Who asks, and for what: a channel, the proxy's selector, and the digest of the snapshot that it has ("" where none)."""

    channel: str
    selector: Selector
    have: str = ""


@runtime_checkable
class ReadsAhead(Protocol):
    """A store whose server may know what is wanted next."""

    def read_news(self, wanted: Wanted, version: str, *, wait_s: float = 0.0) -> tuple[Found, Files] | None:
        """The channels' timestamp as ``read_unless`` reads it, with what the server gives ahead for the release that it leads to.

        The files are empty where the server gives none; that never raises, being no more than a short cut.
        """
        ...


class AheadStore:
    """A store and what it gave ahead. It owns neither: closing it closes nothing."""

    def __init__(self, store: Store, files: Files) -> None:
        self._store = store
        self._files = files

    def blobs(self) -> dict[str, bytes]:
        """The blobs among what was given, by digest, each checked; what is none, or is damaged, is left for ``read`` to refuse."""
        found = {}
        for file in self._files:
            if file.startswith("blobs/"):
                name = file.rpartition("/")[2].removesuffix(".zst")
                with contextlib.suppress(FormatError, StoreError):
                    found[name] = read_blob(self, name)
        return found

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """As Store does."""
        if name not in self._files:
            return self._store.read(name, max_bytes=max_bytes)
        raw = self._files[name]
        if raw is None:
            raise NotFound(f"the store has no {name}")
        if len(raw) > max_bytes:
            raise TooLarge(f"{name} is larger than {max_bytes} bytes")
        return raw

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        """As Store does; never answered ahead."""
        return self._store.read_unless(name, version, max_bytes=max_bytes, wait_s=wait_s)

    def put(self, name: str, content: bytes) -> None:
        """As Store does."""
        self._store.put(name, content)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """As Store does."""
        return self._store.replace(name, content, expected=expected)

    def contains(self, name: str) -> bool:
        """As Store does; never answered ahead."""
        return self._store.contains(name)

    def close(self) -> None:
        """Nothing."""
