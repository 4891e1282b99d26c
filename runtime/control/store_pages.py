"""``/store``: the published snapshots over HTTP, by the protocol that ``snapshot.store`` describes.

Reading is open: what is signed needs no guard, and a proxy reads before it has an identity. Writing takes the publish token. One name is
worth waiting for: ``GET /store/metadata/timestamp.json?wait=SECONDS`` answers when the file has changed from what ``If-None-Match`` names.
``POST /store/ahead`` gives a proxy what it will read next, in one answer (``runtime.control.ahead``), and waits for the same change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
import trio

from runtime.control.ahead import Library, Way
from runtime.control.board import Board
from runtime.control.interface import MAX_WAIT_S, Reason
from runtime.control.latest import Latest
from runtime.control.refusal import Refused
from runtime.control.routing import Access, Page, header, read_json, wait_of
from runtime.service import ServiceRequest, ServiceResponse
from snapshot.ahead import Files, Wanted
from snapshot.blobs import MAX_BLOB_BYTES
from snapshot.store import Conflict, Found, NotFound, Store, StoreError, require_name

MAX_FILE_BYTES = MAX_BLOB_BYTES + 64 * 1024
"""The largest file that is read or taken: a blob that does not compress, with room for the frame."""

TIMESTAMP = "metadata/timestamp.json"
LONG_POLL = (b"weft-long-poll", str(int(MAX_WAIT_S)).encode())
AHEAD = (b"weft-ahead", b"2")
"""They tell a client that ``wait`` and ``ahead`` are understood here, so that it never asks them of a plain file host."""
_VERSION = re.compile(rb'(?:W/)?"([\x21\x23-\x7e]{1,256})"\Z')


class StorePages:
    """Serves one store. ``changed`` grows whenever the timestamp may have changed; ``written`` is called after a write to it."""

    def __init__(self, store: Store, changed: Board, written: Callable[[], object]) -> None:
        self._store = store
        self._changed = changed
        self._written = written
        self._library = Library(store)
        self._timestamp: Latest[Found | None] = Latest(changed)
        self._way: Latest[Way] = Latest(changed)

    def pages(self) -> list[Page]:
        """The routes of the store."""
        return [
            Page("GET", "/store/", Access.ANYONE, self._read),
            Page("HEAD", "/store/", Access.ANYONE, self._read),
            Page("POST", "/store/ahead", Access.ANYONE, self._read_ahead),
            Page("PUT", "/store/", Access.PUBLISHER, self._write),
        ]

    async def _read(self, request: ServiceRequest, name: str) -> ServiceResponse:
        _require_name(name)
        known = _version(header(request.headers, b"if-none-match"))
        found = await self._found_other(name, known, wait_of(request) if name == TIMESTAMP else 0.0)
        if found is None:
            return _unchanged(known)
        return ServiceResponse(
            headers=(_content_type(name), _etag(found.version), LONG_POLL, AHEAD), body=found.content
        )

    async def _found_other(self, name: str, known: str, wait_s: float) -> Found | None:
        """The file where its version is not ``known``, after at most ``wait_s``; None where it still is."""
        deadline = trio.current_time() + wait_s
        while True:
            # Taken before the read: a change after it must not be slept over.
            seen = self._changed.version
            found = await (self._found_latest(known) if wait_s > 0 else self._found(name, known))
            left_s = deadline - trio.current_time()
            if found is not None or left_s <= 0 or not await self._changed.wait_other(seen, wait_s=left_s):
                return found

    async def _found_latest(self, known: str) -> Found | None:
        """The timestamp where its version is not ``known``, as it was after the last change; one reading for all who wait for it."""
        with _refused(TIMESTAMP):
            found = await self._timestamp.get(TIMESTAMP, partial(self._read_file, TIMESTAMP, ""))
        return None if found is None or found.version == known else found

    async def _found(self, name: str, known: str) -> Found | None:
        with _refused(name):
            return await trio.to_thread.run_sync(self._read_file, name, known)

    def _read_file(self, name: str, known: str) -> Found | None:
        return self._store.read_unless(name, known, max_bytes=MAX_FILE_BYTES)

    async def _read_ahead(self, request: ServiceRequest, _: str) -> ServiceResponse:
        wanted = read_json(request, Wanted)
        known = _version(header(request.headers, b"if-none-match"))
        headers = (_content_type("ahead"), LONG_POLL, AHEAD)
        if not known:
            # A proxy that begins, and comes by itself: what is there now.
            return ServiceResponse(headers=headers, body=await self._pack(wanted, {}, None))
        found = await self._found_other(TIMESTAMP, known, wait_of(request))
        if found is None:
            return _unchanged(known)
        way = await self._way.get(wanted.channel, partial(self._library.way_to, wanted.channel))
        body = await self._pack(wanted, {TIMESTAMP: found.content}, way)
        return ServiceResponse(headers=(*headers, _etag(found.version)), body=body)

    async def _pack(self, wanted: Wanted, first: Files, way: Way | None) -> bytes:
        def pack() -> bytes:
            return msgspec.msgpack.encode({**first, **self._library.files_for(wanted, way)})

        return await trio.to_thread.run_sync(pack)

    async def _write(self, request: ServiceRequest, name: str) -> ServiceResponse:
        _require_name(name)
        replaces = header(request.headers, b"if-match")
        creates = header(request.headers, b"if-none-match") == b"*"
        if bool(replaces) == creates:
            raise Refused(
                Reason.MALFORMED, "a PUT needs If-None-Match: * for a new file, or If-Match for one to replace"
            )
        version = _version(replaces)
        if replaces and not version:
            raise Refused(Reason.MALFORMED, "If-Match must hold one ETag, as GET gave it")
        try:
            status, version = await trio.to_thread.run_sync(self._put, name, request.body, version)
        except Conflict as error:
            raise Refused(Reason.PRECONDITION, str(error)) from None
        except StoreError as error:
            raise Refused(Reason.UNAVAILABLE, f"the store cannot be written: {error}") from None
        if name == TIMESTAMP:
            self._written()
        return ServiceResponse(status=status, headers=(_etag(version),))

    def _put(self, name: str, content: bytes, expected: str) -> tuple[int, str]:
        if expected:
            return 204, self._store.replace(name, content, expected=expected)
        status = 204 if self._store.contains(name) else 201
        self._store.put(name, content)
        found = self._store.read_unless(name, "", max_bytes=MAX_FILE_BYTES)
        assert found is not None, "an empty version always reads"
        return status, found.version


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Maps the store's errors to replies."""
    try:
        yield
    except NotFound:
        raise Refused(Reason.NOT_FOUND, f"the store has no {name[:200]}") from None
    except StoreError as error:
        raise Refused(Reason.UNAVAILABLE, f"the store cannot be read: {error}") from None


def _require_name(name: str) -> None:
    try:
        require_name(name)
    except StoreError as error:
        raise Refused(Reason.MALFORMED, str(error)) from None


def _version(value: bytes) -> str:
    found = _VERSION.match(value.strip())
    return found.group(1).decode("ascii") if found else ""


def _unchanged(known: str) -> ServiceResponse:
    return ServiceResponse(status=304, headers=(_etag(known), LONG_POLL, AHEAD))


def _etag(version: str) -> tuple[bytes, bytes]:
    return b"etag", f'"{version}"'.encode()


def _content_type(name: str) -> tuple[bytes, bytes]:
    return b"content-type", b"application/json" if name.endswith(".json") else b"application/octet-stream"
