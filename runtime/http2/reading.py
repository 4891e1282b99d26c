"""Header blocks in: HPACK decoding (RFC 7541), with a memory of repeated blocks.

What a block means depends on the dynamic table only where it refers to it, and what it does to the table is to insert. So a decoded block falls into
one of three kinds. It refers to nothing dynamic: it means the same for ever, and its insertions can be repeated without decoding (nginx's
responses). It refers and does not insert: it means the same until the next insertion (clients that repeat themselves). It does both: it
is decoded each time. The memory keeps the caller's value, not the fields, so that validation is not repeated either.
"""

from __future__ import annotations

from collections import deque

from hpack.table import HeaderTable

from policies.head import Headers
from runtime.http2.huffman import HuffmanError, decode_huffman

TABLE_BYTES = 4096
"""The size of the dynamic table that a peer may use; the protocol's default, which we do not change."""
_ENTRY_OVERHEAD = 32
_REMEMBERED_BLOCKS = 64
_REMEMBERED_BLOCK_BYTES = 1024
_REMEMBERED_STRINGS = 2048
_REMEMBERED_STRING_BYTES = 256
_MAX_INTEGER = 1 << 28
_STATIC = (None, *HeaderTable.STATIC_TABLE)
_STATIC_SIZE = len(HeaderTable.STATIC_TABLE)

Field = tuple[bytes, bytes]


class TooLargeError(Exception):
    """A block decodes to more than the limit; the decoder's state is lost with it."""


class CompressionError(Exception):
    """A block is not valid HPACK."""


class BlockReader:
    """The decoding side of one connection. Owns the dynamic table and the memory of blocks."""

    __slots__ = (
        "_constant",
        "_entries",
        "_inserted",
        "_limit",
        "_max_list_bytes",
        "_referred",
        "_resized",
        "_size",
        "_until_change",
    )

    def __init__(self, max_list_bytes: int) -> None:
        self._max_list_bytes = max_list_bytes
        self._entries: deque[Field] = deque()
        self._size = 0
        self._limit = TABLE_BYTES
        # About the block that was decoded last.
        self._referred = False
        self._resized = False
        self._inserted: list[Field] = []
        self._constant: dict[bytes, tuple[object, list[Field]]] = {}
        self._until_change: dict[bytes, object] = {}

    # --- the memory ----------------------------------------------------------------------------------------------------------

    def recall(self, block: bytes) -> object:
        """What ``remember`` was given for this block, or None; where it is known the block counts as decoded."""
        constant = self._constant.get(block)
        if constant is None:
            return self._until_change.get(block)
        value, inserted = constant
        for name, field_value in inserted:
            self._insert(name, field_value)
        return value

    def remember(self, block: bytes, value: object) -> None:
        """Keeps ``value`` for ``block``, which was decoded just before, for as long as it means the same; or not at all."""
        if self._resized or len(block) > _REMEMBERED_BLOCK_BYTES:
            return
        if not self._referred:
            if len(self._constant) >= _REMEMBERED_BLOCKS:
                self._constant.clear()
            self._constant[block] = value, self._inserted
        elif not self._inserted:
            if len(self._until_change) >= _REMEMBERED_BLOCKS:
                self._until_change.clear()
            self._until_change[block] = value

    # --- decoding ------------------------------------------------------------------------------------------------------------

    def decode(self, block: bytes) -> Headers:
        """The fields of a block, in order; raises TooLargeError or CompressionError, after which the connection is lost."""
        self._referred = self._resized = False
        self._inserted = []
        try:
            return self._decode(block)
        except (IndexError, HuffmanError):
            raise CompressionError from None

    def _decode(self, block: bytes) -> Headers:
        headers: Headers = []
        left = self._max_list_bytes
        at, size = 0, len(block)
        while at < size:
            first = block[at]
            if first & 0x80:
                index, at = (first & 0x7F, at + 1) if first != 0xFF else read_integer(block, at, 7)
                field = self._field(index)
            elif first & 0x40:
                name, at = self._name(block, at, 6)
                value, at = read_string(block, at)
                field = (name, value)
                self._inserted.append(field)
                self._insert(name, value)
            elif first & 0x20:
                if headers:
                    raise CompressionError("a table size update inside a block")
                at = self._resize(block, at)
                continue
            else:
                name, at = self._name(block, at, 4)
                value, at = read_string(block, at)
                field = (name, value)
            left -= len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
            if left < 0:
                raise TooLargeError
            headers.append(field)
        return headers

    def _field(self, index: int) -> Field:
        if index <= _STATIC_SIZE:
            field = _STATIC[index]
            if field is None:
                raise CompressionError("index 0")
            return field
        self._referred = True
        return self._entries[index - _STATIC_SIZE - 1]

    def _name(self, block: bytes, at: int, prefix_bits: int) -> tuple[bytes, int]:
        index, at = read_integer(block, at, prefix_bits)
        return (self._field(index)[0], at) if index else read_string(block, at)

    def _resize(self, block: bytes, at: int) -> int:
        limit, at = read_integer(block, at, 5)
        if limit > TABLE_BYTES:
            raise CompressionError("a table larger than was offered")
        self._resized = True
        self._limit = limit
        self._evict()
        self._until_change.clear()
        self._constant.clear()
        return at

    def _insert(self, name: bytes, value: bytes) -> None:
        self._entries.appendleft((name, value))
        self._size += len(name) + len(value) + _ENTRY_OVERHEAD
        if self._size > self._limit:
            self._evict()
        if self._until_change:
            self._until_change.clear()

    def _evict(self) -> None:
        entries = self._entries
        while self._size > self._limit:
            name, value = entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


def read_integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """An integer (section 5.1) and where it ends; raises IndexError where it is cut off, CompressionError where it is absurd."""
    limit = (1 << prefix_bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if value > _MAX_INTEGER or shift > 28:
            raise CompressionError("an integer too large")
        if not byte & 0x80:
            return value, at
        shift += 7


_strings: dict[bytes, bytes] = {}


def read_string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string (section 5.2) and where it ends; raises as ``read_integer`` does, and HuffmanError."""
    first = block[at]
    length, at = (first & 0x7F, at + 1) if first & 0x7F != 0x7F else read_integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise CompressionError("a string beyond its block")
    raw = block[at:end]
    if not first & 0x80:
        return raw, end
    text = _strings.get(raw)
    if text is None:
        text = decode_huffman(raw)
        if length <= _REMEMBERED_STRING_BYTES:
            if len(_strings) >= _REMEMBERED_STRINGS:
                _strings.clear()
            _strings[raw] = text
    return text, end
