"""Header blocks: decoded by the library with a memory of repeated blocks, encoded without any state.

Decoding. The same block bytes mean the same headers for as long as the dynamic table is the same, and clients that repeat themselves send blocks of
indexes that do not change it. So decoded blocks are remembered until the table changes, which is seen by its newest entry and its length
(an insertion changes the first, an eviction without one the second).

Encoding. Every field is a static index or a literal without indexing (RFC 7541 sections 6.1 and 6.2.2), so what a field encodes to never
depends on what was sent before; the peer's table is set to nothing in the first block, which makes any later setting of it moot.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from policies.head import Headers

_REMEMBERED_BLOCKS = 64
_REMEMBERED_BLOCK_BYTES = 1024
_REMEMBERED_NAMES = 1024
_SIZE_UPDATE = 0x20
EMPTY_TABLE = bytes([_SIZE_UPDATE])
# Never indexed by any hop (RFC 7541 section 7.1.3): guessing a secret by its compression.
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_STATIC = {pair: bytes([0x80 | index]) for index, pair in enumerate(HeaderTable.STATIC_TABLE, 1) if pair[1]}
_STATIC_NAMES: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _STATIC_NAMES.setdefault(_name, _index)
_SHORT = tuple(bytes([length]) for length in range(127))


class TooLargeError(Exception):
    """A block decodes to more than the limit; the decoder's state is lost with it."""


class CompressionError(Exception):
    """A block is not valid HPACK."""


class BlockReader:
    """The decoding side of one connection. Owns the dynamic table and the memory of blocks."""

    __slots__ = ("_decoder", "_known", "_length", "_newest", "_stable")

    def __init__(self, max_list_bytes: int) -> None:
        self._decoder = Decoder(max_list_bytes)
        self._newest: object = None
        self._length = 0
        self._stable = False
        self._known: dict[bytes, object] = {}

    def recall(self, block: bytes) -> object:
        """What ``remember`` was given for this block, or None."""
        return self._known.get(block)

    def remember(self, block: bytes, value: object) -> None:
        """Keeps ``value`` for ``block``, which was just decoded, for as long as it decodes to the same; or not at all.

        A block that changed the table, or that may change its size, must be decoded again each time it comes.
        """
        if self._stable and len(block) <= _REMEMBERED_BLOCK_BYTES and block[0] & 0xE0 != _SIZE_UPDATE:
            if len(self._known) >= _REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[block] = value

    def decode(self, block: bytes) -> Headers:
        """The fields of a block, in order; raises TooLargeError or CompressionError, after which the connection is lost."""
        try:
            headers: Headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise TooLargeError from None
        except HPACKError as error:
            raise CompressionError(str(error)) from None
        entries = self._decoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        self._stable = newest is self._newest and len(entries) == self._length
        if not self._stable:
            self._newest, self._length = newest, len(entries)
            self._known.clear()
        return headers


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
