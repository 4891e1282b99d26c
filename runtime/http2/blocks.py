"""Header blocks out, without any state: every field is a static index or a literal without indexing (RFC 7541 sections 6.1 and 6.2.2).

What a field encodes to never depends on what was sent before, so encoded parts can be kept and joined. The peer's table is set to nothing in a
connection's first block, which makes any later setting of its size moot.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpack.table import HeaderTable

_REMEMBERED_NAMES = 1024
EMPTY_TABLE = b"\x20"
"""A table size update to 0."""
# Never indexed by any hop (RFC 7541 section 7.1.3): guessing a secret by its compression.
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_STATIC = {pair: bytes([0x80 | index]) for index, pair in enumerate(HeaderTable.STATIC_TABLE, 1) if pair[1]}
_STATIC_NAMES: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _STATIC_NAMES.setdefault(_name, _index)
_SHORT = tuple(bytes([length]) for length in range(127))


def encode_integer(value: int, prefix_bits: int, first: int) -> bytes:
    """An integer of RFC 7541 section 5.1 whose first byte also carries ``first``."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_length(value: bytes) -> bytes:
    return encode_integer(len(value), 7, 0)


class _Names(dict[bytes, bytes]):
    """Names as the start of a literal, made when first asked for; emptied when full."""

    def __missing__(self, name: bytes) -> bytes:
        kind = 0x10 if name in _SECRET else 0x00
        index = _STATIC_NAMES.get(name)
        start = bytes([kind]) + _encode_length(name) + name if index is None else encode_integer(index, 4, kind)
        if len(self) >= _REMEMBERED_NAMES:
            self.clear()
        self[name] = start
        return start


_names = _Names()


def encode_fields(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Fields as a part of a block; parts can be joined and kept, since none depends on another."""
    parts: list[bytes] = []
    for pair in headers:
        indexed = _STATIC.get(pair)
        if indexed is not None:
            parts.append(indexed)
            continue
        name, value = pair
        size = len(value)
        parts += (_names[name], _SHORT[size] if size < 127 else _encode_length(value), value)
    return b"".join(parts)
