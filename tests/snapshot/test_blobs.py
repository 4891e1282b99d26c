"""Blobs: what is read is what the name says, or nothing."""

from __future__ import annotations

import os

import pytest
import zstandard

from snapshot.blobs import MAX_BLOB_BYTES, inflate, put_blob, read_blob
from snapshot.encode import FormatError, digest
from snapshot.store import NotFound, TooLarge
from tests.stores import MemoryStore

WORDS = b"virtual host " * 100


@pytest.mark.parametrize("raw", [b"", b"short", WORDS, os.urandom(5_000), bytes(1_000_000)])
def test_a_blob_round_trips(raw: bytes) -> None:
    store = MemoryStore()
    put_blob(store, digest(raw), raw)
    assert read_blob(store, digest(raw)) == raw


def test_a_blob_is_stored_once_and_compressed() -> None:
    store = MemoryStore()
    put_blob(store, digest(WORDS), WORDS)
    put_blob(store, digest(WORDS), WORDS)
    assert store.writes == 1
    assert sum(map(len, store.files.values())) < len(WORDS) / 5


def test_a_blob_under_another_name_is_refused() -> None:
    store = MemoryStore()
    put_blob(store, digest(b"a"), WORDS)
    with pytest.raises(FormatError) as caught:
        read_blob(store, digest(b"a"))
    assert caught.value.reason == "digest"


def test_a_missing_blob_is_not_found() -> None:
    with pytest.raises(NotFound):
        read_blob(MemoryStore(), digest(b"a"))


def test_a_blob_of_more_bytes_than_its_section_says_is_refused() -> None:
    store = MemoryStore()
    put_blob(store, digest(WORDS), WORDS)
    with pytest.raises(TooLarge):
        read_blob(store, digest(WORDS), max_bytes=len(WORDS) - 1)


def test_a_bomb_is_not_inflated() -> None:
    bomb = zstandard.compress(bytes(4 * MAX_BLOB_BYTES))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge):
        inflate(bomb, max_bytes=MAX_BLOB_BYTES)
    with pytest.raises(TooLarge):
        inflate(zstandard.compress(bytes(MAX_BLOB_BYTES)), max_bytes=MAX_BLOB_BYTES)


def test_a_frame_that_hides_its_size_or_is_followed_by_more_is_refused() -> None:
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(WORDS)
    for damaged in (packed, zstandard.compress(WORDS) + b"more", b"", b"\x28\xb5\x2f\xfd"):
        with pytest.raises(FormatError):
            inflate(damaged, max_bytes=MAX_BLOB_BYTES)
