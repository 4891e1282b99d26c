"""Blobs: bytes named by their sha256, compressed for transport only. Whoever reads one gets exactly the bytes that its name says."""

from __future__ import annotations

import zstandard

from snapshot.encode import FormatError, digest
from snapshot.store import NotFound, Store, TooLarge

MAX_BLOB_BYTES = 16 * 1024 * 1024
MAX_RATIO = 1_000
"""A blob of zeros compresses better than this; nothing that the compiler writes does, and a bomb must announce itself."""

_WORTH_COMPRESSING_BYTES = 128
_ALWAYS_ALLOWED_BYTES = 64 * 1024
_LEVEL = 6


def put_blob(store: Store, name: str, raw: bytes) -> None:
    """Stores a blob under its digest unless it is there; raises StoreError. Another writer's other compression of it is as good."""
    packed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(raw)
    compressed = len(raw) >= _WORTH_COMPRESSING_BYTES and len(raw) <= MAX_RATIO * len(packed)
    packed_name, plain = blob_names(name)
    path = packed_name if compressed else plain
    if not store.contains(path):
        store.put(path, packed if compressed else raw)


def read_blob(store: Store, name: str, *, max_bytes: int = MAX_BLOB_BYTES) -> bytes:
    """A blob's bytes, checked against its name. Raises NotFound and StoreError; FormatError (``digest``) where the bytes are others."""
    packed, plain = blob_names(name)
    try:
        raw = inflate(store.read(packed, max_bytes=max_bytes + 1024), max_bytes=max_bytes)
    except NotFound:
        raw = store.read(plain, max_bytes=max_bytes)
    if digest(raw) != name:
        raise FormatError("digest", f"blob {name[:12]} has other bytes than its name says")
    return raw


def inflate(packed: bytes, *, max_bytes: int) -> bytes:
    """Undoes one zstd frame of a declared and bounded size. Raises TooLarge, FormatError (``digest``) for what is not such a frame."""
    try:
        size = zstandard.get_frame_parameters(packed).content_size
        if size == zstandard.CONTENTSIZE_UNKNOWN:
            raise FormatError("digest", "a compressed blob does not say its size")
        if size > max_bytes or size > max(_ALWAYS_ALLOWED_BYTES, MAX_RATIO * len(packed)):
            raise TooLarge(f"a blob would inflate from {len(packed)} to {size} bytes")
        return zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError("digest", f"a compressed blob is damaged: {error}") from None


def blob_names(name: str) -> tuple[str, str]:
    """The two names that a blob may have in a store, compressed and not, in the order in which readers ask for them."""
    plain = f"blobs/{name[:2]}/{name}"
    return f"{plain}.zst", plain
