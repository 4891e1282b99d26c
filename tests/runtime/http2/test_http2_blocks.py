"""Header blocks, judged by the hpack library both ways."""

from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder, HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.http2.blocks import encode_fields
from runtime.http2.huffman import HuffmanError, decode_huffman
from runtime.http2.reading import BlockReader, CompressionError, TooLargeError

name = st.sampled_from([b":path", b"x-a", b"cookie", b"date", b"server", b"content-type"]) | st.binary(
    min_size=1, max_size=40
)
value = st.sampled_from([b"", b"/", b"GET", b"a" * 200, b"b" * 5000]) | st.binary(max_size=60)
fields = st.lists(st.tuples(name, value), max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(fields, st.booleans(), st.sampled_from([None, None, None, 0, 100, 4096])), max_size=8))
def test_a_connections_blocks_decode_as_they_were_encoded_remembered_or_not(
    blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]],
) -> None:
    encoder, reader, judge = Encoder(), BlockReader(1 << 20), Decoder(1 << 20)
    for headers, huffman, table_size in blocks * 3:
        if table_size is not None:
            encoder.header_table_size = table_size
        block = encoder.encode(headers, huffman=huffman)
        expected = [(bytes(key), bytes(text)) for key, text in judge.decode(block, raw=True)]
        got = reader.recall(block)
        if got is None:
            got = reader.decode(block)
            reader.remember(block, got)
        assert got == expected == headers


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_damaged_blocks_are_refused_or_read_as_the_library_does(seed: int) -> None:
    draws = random.Random(seed)
    encoder, reader, judge = Encoder(), BlockReader(1 << 20), Decoder(1 << 20)
    for _ in range(4):
        encoder.header_table_size = draws.choice((encoder.header_table_size, 0, 100, 4096))
        headers = [(draws.choice((b":path", b"x-a", b"date")), draws.randbytes(draws.randint(0, 40))) for _ in range(4)]
        block = damaged(encoder.encode(headers, huffman=draws.random() < 0.5), draws)
        try:
            expected = [(bytes(key), bytes(text)) for key, text in judge.decode(block, raw=True)]
        except HPACKError:
            with pytest.raises((CompressionError, TooLargeError)):
                reader.decode(block)
            return
        assert reader.decode(block) == expected


def damaged(block: bytes, draws: random.Random) -> bytes:
    """Now and then with bytes replaced, put in or taken out."""
    if draws.random() < 0.5:
        return block
    at = draws.randrange(len(block))
    other = draws.choice((b"", draws.randbytes(1), b"\xff", b"\x7f\xff\xff", b"\x3f\xe1\x1f"))
    return block[:at] + other + block[at + draws.randint(0, 1) :]


@settings(max_examples=150, deadline=None)
@given(fields)
def test_what_we_encode_the_library_decodes(headers: list[tuple[bytes, bytes]]) -> None:
    decoder = Decoder(1 << 20)
    assert [tuple(pair) for pair in decoder.decode(encode_fields(headers), raw=True)] == headers
    assert not decoder.header_table.dynamic_entries


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_huffman_strings_decode_back(text: bytes) -> None:
    assert decode_huffman(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)) == text


@pytest.mark.parametrize("raw", [b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\xfc", b"\x1f\xff"])
def test_a_huffman_string_that_does_not_end_right_is_refused(raw: bytes) -> None:
    with pytest.raises(HuffmanError):
        decode_huffman(raw)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",
        b"\x7f\x80",
        b"\xff\xff\xff\xff\xff\xff\x7f",
        b"\x40\x05ab",
        b"\x00\x01",
        b"\x3f\xe2\x1f",
        b"\x82\x20",
        b"\x00\x81\xff\x00",
        b"\x40",
    ],
)
def test_a_block_that_is_no_hpack_is_refused(block: bytes) -> None:
    with pytest.raises(CompressionError):
        BlockReader(1000).decode(block)


def test_a_small_block_cannot_become_a_large_head() -> None:
    reader = BlockReader(32_768)
    reader.decode(b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000)
    with pytest.raises(TooLargeError):
        reader.decode(b"\xbe" * 9)
