"""Sequences of frames at both roles of our HTTP/2 codec: in any pieces they mean the same, and what the h2 library makes of them but for ``LIST``.

The library is asked step by step, and what each side read, acknowledged, reset and refused is compared until the first step that they take otherwise.
The messages of the HTTP/1 corpora come as header blocks too: what smuggles by a translation from HTTP/2 to HTTP/1 is refused here.
The draws are the same in every run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.head import Headers
from runtime.http2 import frames
from tests.conformance.corpus import DATA
from tests.runtime.http1.test_http1_corpora import request_cases
from tests.runtime.http2.conversations import Outcome, first_difference, read_all
from tests.runtime.http2.scripts import GET, Script, Step, cut, joined
from tests.runtime.http2.sequences import Peer

LIST: tuple[tuple[str, str, str], ...] = (
    # What ours does, what the library does, and why ours does so. RFC 9113.
    ("stream *", "connection 1 *header*", "a malformed message ends its stream (8.1.1), not the connection"),
    ("stream *", "connection 1 *pseudo-header*", "the same"),
    ("stream *", "connection 1 *Header*", "the same"),
    ("stream *", "connection 1 *:authority*", "the same, after a 400"),
    ("reads on", "connection 1 *:authority*", "the same, where the 400 ends the stream on both sides"),
    ("stream 1 h2_bad_content_length", "connection 1 InvalidBodyLength*", "the same"),
    ("stream *", "connection 1 Trailers must have END_STREAM set", "the same (8.1)"),
    ("stream *", "connection 1 Cannot set END_STREAM on informational*", "the same (8.1)"),
    (
        "stream 1 h2_flow_control",
        "connection 1 *non-compliant data",
        "a window update of 0 on a stream is an error of the stream (6.9)",
    ),
    ("reads on", "connection 1 *non-compliant data", "a window update of 0 on a stream that is over changes nothing"),
    (
        "stream *",
        "reads on",
        "a length that no body follows, or a field that no trailer may be (8.1.1; RFC 9110 6.5.1)",
    ),
    (
        "*",
        "connection 1 Invalid input ConnectionInputs.*",
        "after a GOAWAY what is open goes on (6.8); the library takes nothing more",
    ),
    ("reads on", "stream 5", "what comes on a stream that we reset is ignored (5.1)"),
    (
        "connection 5 h2_stream_closed",
        "stream 5",
        "what comes after the end of a stream is an error of the connection (5.1)",
    ),
    (
        "stream 5 h2_stream_closed",
        "connection *",
        "what comes after the peer's own end is an error of the stream (5.1)",
    ),
    ("connection 5 h2_stream_closed", "connection *", "the library looks at the frame's content first"),
    ("connection 1 h2_bad_stream_id", "reads on", "RST_STREAM on an idle stream (6.4)"),
    ("connection 1 h2_bad_stream_id", "*", "a frame on an idle stream (5.1), whatever else is wrong with it"),
    (
        "connection 1 h2_bad_frame",
        "*",
        "a stream that depends on itself, or padding beyond the frame; the library looks when the block has ended",
    ),
    ("connection 6 h2_bad_frame_size", "connection 1 *", "a frame of a wrong size is FRAME_SIZE_ERROR (4.2)"),
    ("connection 9 h2_bad_header_block", "connection 1 Error decoding*", "COMPRESSION_ERROR (4.3)"),
    ("connection 1 h2_unexpected_frame", "connection 6 *", "no CONTINUATION may stand there, whatever its content"),
    ("connection 3 h2_*", "connection 1 *", "a window that grows beyond its bound is FLOW_CONTROL_ERROR (6.9.1)"),
)
PIECES = (1, 7, 1_000)


def check(steps: list[Step], *, client: bool, pieces: tuple[int, ...] = PIECES) -> str:
    """Holds a sequence against itself in pieces of these sizes and against the library; how they differ, or ""."""
    whole = read_all(joined(steps), client=client).settled()
    for size in pieces:
        assert read_all(cut(steps, size), client=client).settled() == whole, steps
    difference = first_difference(steps, client=client)
    if difference is None:
        return ""
    known = [
        why for ours, theirs, why in LIST if fnmatchcase(difference[0], ours) and fnmatchcase(difference[1], theirs)
    ]
    assert known, (difference, steps)
    return difference[0]


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
def test_what_a_peer_sends_means_what_the_library_makes_of_it_but_for_the_list(client: bool) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def trying(seed: int) -> None:
        seen[check(Peer(random.Random(seed), client=client).write(), client=client)] += 1

    trying()
    assert seen[""] > 200
    assert len(seen) > 8


@pytest.mark.skipif(
    not DATA.is_dir() and os.environ.get("WEFT_REQUIRE_ALL") != "1", reason="no conformance data: set WEFT_CONFORMANCE"
)
def test_messages_of_the_http1_corpora_as_header_blocks_are_as_the_library_reads_them() -> None:
    seen: Counter[str] = Counter()
    for number, (_, wire) in enumerate(request_cases()):
        script = Script()
        script.send(frames.PREFACE)
        script.send(frames.settings({}))
        headers = GET + fields_of(wire)
        script.headers(1, headers, end=False, parts=1 + number % 3)
        script.data(1, wire.partition(b"\r\n\r\n")[2][:1_000], end=True)
        script.headers(3, GET, end=True)
        seen[check(script.steps, client=False, pieces=(1 + number % 40,))] += 1
    assert seen[""] > 100
    assert seen["stream 1"] > 800


def fields_of(wire: bytes) -> Headers:
    """The fields of a head in HTTP/1's syntax, however odd, as names in lower case and values."""
    lines = wire.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    pairs = [line.partition(b":") for line in lines if line]
    found = [(name.lower()[:200], value.removeprefix(b" ")[:1_000]) for name, _, value in pairs]
    return [(name, value) for name, value in found if name != b"host"][:90]


def test_the_comparison_tells_a_difference() -> None:
    told = Outcome()
    told.tell(1, "data", b"a")
    told.tell(1, "data", b"b")
    assert told.told == {1: [("data", b"ab")]}
    script = Script()
    script.send(frames.PREFACE)
    script.send(frames.settings({}))
    script.headers(1, [*GET, (b"content-length", b"5")], end=True)
    assert first_difference(script.steps, client=False) == ("stream 1", "reads on")
    assert check(script.steps, client=False) == "stream 1"
