"""Where snapshots live: named files, some written once, one replaced by compare-and-swap. Any static file host can be read as one.

A name is relative, with ``/`` between its parts (``metadata/timestamp.json``, ``blobs/ab/ab12...zst``). Nothing read here is trusted:
``snapshot.trust`` and the blobs' digests decide that. All calls block; callers in Trio run them in a thread.

Over HTTP a store is these requests under one URL; ``weft control`` serves them, and any file host serves the first three:

    GET  /store/<name>                         200 with the bytes and an ETag; 404 where there is no such file
    HEAD /store/<name>                         the same without the bytes
    GET  /store/<name>  If-None-Match: "tag"   304 where the file still has that ETag
    GET  ...?wait=20    If-None-Match: "tag"   the same, but 304 only after so many seconds without a change
    POST /store/ahead   Wanted as JSON         200 with a map of names to bytes (MessagePack): what this proxy will read next (snapshot.ahead)
    POST .../ahead?wait=20  If-None-Match: "tag"   the same with the timestamp and its ETag, when that is no longer this one; else 304
    PUT  /store/<name>  If-None-Match: *       201 for a new file; 412 where the name is taken by other bytes, 204 where by the same
    PUT  /store/<name>  If-Match: "tag"        204 where the file had that ETag and is replaced now; 412 where it had another

``wait`` and ``ahead`` are asked only of a server whose replies carry ``weft-long-poll: <most seconds>`` and ``weft-ahead: 2``, so a plain
file host never sees either.
PUT carries ``Authorization: Bearer <token>`` (401 without, 403 with a wrong one) and answers with the new ETag.
"""

from __future__ import annotations

import errno
import re
from typing import Protocol

import msgspec

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
MAX_NAME_CHARACTERS = 512


class StoreError(Exception):
    """The store could not be read or written; the message says what was asked and what went wrong."""


class NotFound(StoreError):  # noqa: N818  the word that the protocol uses
    """There is no file of that name."""


class Conflict(StoreError):  # noqa: N818  the word that the protocol uses
    """The file is not, or no longer, what the writer expected: somebody else wrote first. Nothing was changed."""


class TooLarge(StoreError):  # noqa: N818  said of the file, not of the program
    """The file is larger than the reader is ready to hold; reading stopped at that bound."""


class Found(msgspec.Struct, frozen=True):
    """A file's bytes and the version token (ETag) that names this state of it."""

    content: bytes
    version: str


class Store(Protocol):
    """Named files. Implementations are safe to call from several threads."""

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The file's bytes; raises NotFound, TooLarge or StoreError."""
        ...

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        """The file and its version, or None where it still has ``version`` ("" always reads); raises as ``read`` does.

        A store that can waits up to ``wait_s`` for the file to change before it answers None; others answer at once.
        """
        ...

    def put(self, name: str, content: bytes) -> None:
        """Creates a file that never changes; the same bytes again are fine, other bytes raise Conflict. Readers see all of it or nothing."""
        ...

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """Replaces a file that has the version ``expected`` (None: that does not exist) and returns the new version; raises Conflict."""
        ...

    def contains(self, name: str) -> bool:
        """Whether a file of that name is there; raises StoreError where that cannot be said."""
        ...

    def close(self) -> None:
        """Lets go of connections; calls under way in other threads fail, and the store must not be used afterwards."""
        ...


IN_REACH = "; is the location right, and its server running and in reach?"
"""What a message says after a connection that could not be made."""


def not_written(error: OSError) -> str:
    """What a message says after the name of a file that could not be written: why, and the next step."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{error.strerror or error}; {'make room there' if full else 'give a folder that you may write'}"


def require_name(name: str) -> str:
    """Returns a name that stays inside any store: no empty, hidden or ``..`` part, no odd character; raises StoreError for others."""
    if len(name) > MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None:
        raise StoreError(f"{name[:80]!r} is not a name in a store")
    return name
