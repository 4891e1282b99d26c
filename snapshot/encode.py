"""Canonical bytes: the same value is the same bytes on every machine, so a digest names a behaviour.

MessagePack with struct fields in declaration order, defaults omitted and map keys sorted. Every change of a section type, or
of an index, that changes bytes raises FORMAT.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar, cast

import msgspec

from snapshot.decoding import packed_decoder
from snapshot.section import Section

FORMAT = 2
"""The version of the slice format that this code writes and the only one that it reads."""

FEATURES = frozenset({"http", "tcp", "tls", "mesh-tls", "authorization", "fault", "retry", "rate-limit", "dns"})
"""What this code can run. A slice that requires another feature is refused."""

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_section_decoder: msgspec.msgpack.Decoder[Section] = packed_decoder(cast("type[Section]", Section))


class FormatError(Exception):
    """Bytes that are not what this version of weft writes. ``reason`` is closed: ``undecodable``, ``format``, ``feature``, ``digest``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def encode(value: object) -> bytes:
    """The canonical bytes of a section, an index or a provenance table."""
    return _encoder.encode(value)


def decode(raw: bytes, shape: type[T]) -> T:
    """Reads canonical bytes as one type; raises FormatError."""
    try:
        return packed_decoder(shape).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("undecodable", f"not a {shape.__name__}: {error}") from None


def decode_section(raw: bytes) -> Section:
    """Reads one section's behaviour; raises FormatError."""
    try:
        return _section_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("undecodable", f"not a section: {error}") from None


def digest(raw: bytes) -> str:
    """The sha256 of uncompressed bytes, in lower-case hexadecimal."""
    return hashlib.sha256(raw).hexdigest()
