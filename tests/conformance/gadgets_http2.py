"""The smuggling gadgets as header blocks of HTTP/2, through a running proxy to an HTTP/1 origin: what is translated is one request, or nothing.

Each gadget's fields, however odd, stand in a HEADERS frame; its body, an end of chunks and a second request, in a DATA frame. The origin reads by
h11: it must never see a second request, nor another body than the one in the frame (RFC 9113 section 8.2.1, CVE-2023-27491).
"""

from __future__ import annotations

from functools import partial

import trio
from hpack import Encoder

from policies.head import Headers
from runtime.http2 import frames
from tests.conformance.carrying import Carried, carry
from tests.conformance.corpus import Tally, read
from tests.conformance.gadgets import BODY, echo, wire_of

PSEUDO: Headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]


def run() -> Tally:
    """Every gadget."""
    tally = Tally()
    wires = {gadget["id"]: as_http2(fields_of(wire_of(gadget))) for gadget in read("http1/smuggler_gadgets.json")}
    found = trio.run(partial(carry, over=is_over), wires, echo)
    for name, carried in found.items():
        tally.count(name, judge(carried))
    assert any(carried.whole for carried in found.values()), "nothing was translated at all"
    return tally


def fields_of(wire: bytes) -> Headers:
    """The fields of a head in HTTP/1's syntax: names in lower case but else as they are, values without the space before them."""
    lines = wire.removesuffix(BODY).rstrip(b"\r\n").split(b"\r\n")[1:]
    pairs = [line.partition(b":") for line in lines if line]
    fields = [(name.lower(), value.removeprefix(b" ")) for name, _, value in pairs]
    return [(name, value) for name, value in fields if name != b"host"]


def as_http2(fields: Headers) -> bytes:
    """A client's preface, one request with these fields, and BODY."""
    block = Encoder().encode([*PSEUDO, *fields])
    request = frames.header_frames(1, block, frames.DEFAULT_MAX_FRAME_SIZE, end_stream=False)
    data = frames.frame(frames.DATA, frames.END_STREAM, 1, BODY)
    return frames.PREFACE + frames.settings({}) + request + data


def is_over(answer: bytes) -> bool:
    """Whether stream 1 has ended or was reset."""
    at = 0
    while len(answer) >= at + 9:
        kind, flags, stream = answer[at + 3], answer[at + 4], int.from_bytes(answer[at + 5 : at + 9])
        ends = kind == frames.RST_STREAM or (kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM)
        if stream == 1 and ends:
            return True
        at += 9 + int.from_bytes(answer[at : at + 3])
    return False


def judge(carried: Carried) -> str | None:
    """None where nothing arrived whole, or one request with the frame's body."""
    if len(carried.arrived) > 1:
        return f"{len(carried.arrived)} requests arrived"
    if carried.whole and (carried.whole[0].target, carried.whole[0].body) != ("/", BODY):
        return f"arrived as {carried.whole[0]}"
    return None
