"""The WebSocket handshake between versions of HTTP, and when a hop may say goodbye for a server."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from runtime.http.websocket import GOING_AWAY, Farewell, accepted, keyed

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")


def frame(size: int, *, opcode: Opcode = Opcode.BINARY, mask: bool = False) -> bytes:
    return Frame(opcode, bytes(size)).serialize(mask=mask)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("mask", [False, True])
def test_goodbye_is_said_between_two_frames_and_never_inside_one(size: int, *, mask: bool) -> None:
    wire = frame(size, mask=mask)
    for cut in {cut for cut in (1, 2, 3, len(wire) // 2, len(wire) - 1) if 0 < cut < len(wire)}:
        following = Farewell()
        assert following.passes(wire[:cut])
        assert following.say() == b""
        assert following.passes(wire[cut:])
        assert following.say() == GOING_AWAY


@given(st.lists(st.integers(0, 300), max_size=6), st.lists(st.integers(0, 2_000), max_size=8))
def test_any_pieces_of_whole_frames_leave_room_for_a_goodbye(sizes: list[int], cuts: list[int]) -> None:
    wire = b"".join(frame(size) for size in sizes)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    following = Farewell()
    for start, end in itertools.pairwise(edges):
        following.passes(wire[start:end])
    assert following.say() == GOING_AWAY


def test_after_the_goodbye_the_server_is_not_heard_and_it_is_said_once() -> None:
    following = Farewell()
    assert following.say() == GOING_AWAY
    assert not following.passes(frame(3))
    assert following.say() == b""


def test_a_server_that_closes_by_itself_is_not_interrupted() -> None:
    following = Farewell()
    following.passes(frame(2, opcode=Opcode.CLOSE))
    assert following.say() == b""


def test_a_handshake_gets_a_key_where_it_has_none_and_another_each_time() -> None:
    (one,), (other,) = keyed([]), keyed([])
    assert one[0] == other[0] == KEY[0]
    assert one != other
    assert keyed([KEY]) == [KEY]


def test_an_agreement_gets_the_digest_of_the_key_where_it_has_none() -> None:
    digest = (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert accepted([], dict([KEY])) == [digest]
    assert accepted([digest], dict([KEY])) == [digest]
    assert accepted([], {}) == []
