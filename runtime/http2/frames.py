"""Frames as bytes (RFC 9113 sections 4 and 6): the numbers, and the small writers."""

from __future__ import annotations

import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
DEFAULT_MAX_FRAME_SIZE = 16_384
MAX_WINDOW = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1

# A frame's header: 24 bits of length (as 16 and 8), type, flags, stream.
read_header = struct.Struct(">HBBBL").unpack_from
_header = struct.Struct(">HBBBL").pack
_u32 = struct.Struct(">L")
_setting = struct.Struct(">HL")
_goaway = struct.Struct(">LL").pack


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame; ``payload`` must fit the peer's maximum frame size."""
    size = len(payload)
    return _header(size >> 8, size & 255, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_setting.pack(key, value) for key, value in values.items()]))


def split_settings(payload: bytes) -> list[tuple[int, int]]:
    """The identifiers and values of a SETTINGS payload whose size is a multiple of six, in order."""
    return list(_setting.iter_unpack(payload))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, _u32.pack(increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _u32.pack(code))


def goaway(last_stream_id: int, code: int) -> bytes:
    """A GOAWAY frame without debug data."""
    return frame(GOAWAY, 0, 0, _goaway(last_stream_id, code))


def read_u32(payload: bytes) -> int:
    """The first four bytes as a number."""
    return int(_u32.unpack_from(payload)[0])


def header_frames(stream_id: int, block: bytes, max_frame_size: int, *, end_stream: bool) -> bytes:
    """HEADERS and as many CONTINUATIONs as the block needs."""
    end = END_STREAM if end_stream else 0
    if len(block) <= max_frame_size:
        return frame(HEADERS, end | END_HEADERS, stream_id, block)
    parts = [block[at : at + max_frame_size] for at in range(0, len(block), max_frame_size)]
    out = [frame(HEADERS, end, stream_id, parts[0])]
    out += [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    out.append(frame(CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(out)
