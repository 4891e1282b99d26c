"""Upstreams that break HTTP/2, reset, truncate or stall, on both engines: the status, the flag in the log, and that no cut body looks whole."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
import trio
from hpack import Decoder, Encoder

from policies.head import Headers
from runtime.http2 import frames
from tests.runtime.test_proxy_bad_upstreams import (
    RESET,
    WAIT,
    by_http1,
    by_http2,
    counted_since,
    details_of,
    logged_in,
    metrics_of,
    serving,
)

pytestmark = pytest.mark.integration
OK: Headers = [(b":status", b"200")]
TEN = [*OK, (b"content-length", b"10")]


def head(headers: Headers, *, end: bool = False) -> bytes:
    """A HEADERS frame on stream 1, without indexing: the table stays as it is."""
    flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
    block = Encoder().encode([(name, value, True) for name, value in headers], huffman=False)
    return frames.frame(frames.HEADERS, flags, 1, block)


def data(body: bytes, *, end: bool = False) -> bytes:
    """A DATA frame on stream 1."""
    return frames.frame(frames.DATA, frames.END_STREAM if end else 0, 1, body)


CASES: dict[str, tuple[bytes, bytes, int, str, bool]] = {
    # What the origin sends (on stream 1, of a connection of its own), how it ends (closing where nothing is said), status, flags, whole.
    "whole": (head(TEN) + data(b"hello", end=False) + data(b"world", end=True), WAIT, 200, "-", True),
    "garbage": (b"garbage garbage garbage", WAIT, 502, "UPE", True),
    "resets": (frames.rst_stream(1, 2), WAIT, 503, "UR", True),
    "refuses": (frames.rst_stream(1, 7), WAIT, 503, "UR", True),
    "resets-in-body": (head(TEN) + data(b"hello") + frames.rst_stream(1, 2), WAIT, 200, "UR", False),
    "goes-away": (frames.goaway(0, 0), WAIT, 503, "UR", True),
    "closes": (b"", b"", 503, "UC", True),
    "closes-in-body": (head(TEN) + data(b"hello"), b"", 200, "UC", False),
    "connection-reset": (b"", RESET, 503, "UC", True),
    "stalls": (b"", WAIT, 504, "UT", True),
    "stalls-in-body": (head(TEN) + data(b"hello"), WAIT, 200, "UT", False),
    "short": (head(TEN) + data(b"hello", end=True), WAIT, 200, "UPE", False),
    "long": (head(TEN) + data(b"hello world", end=True), WAIT, 200, "UPE", False),
    "no-status": (head([(b"x-a", b"1")], end=True), WAIT, 502, "UPE", True),
    "bad-status": (head([(b":status", b"abc")], end=True), WAIT, 502, "UPE", True),
    "bad-field": (head([*OK, (b"Upper", b"1")], end=True), WAIT, 502, "UPE", True),
    "connection-field": (head([*OK, (b"connection", b"close")], end=True), WAIT, 502, "UPE", True),
    "data-first": (data(b"hello", end=True), WAIT, 502, "UPE", True),
    "window-overflow": (frames.window_update(0, 2**31 - 1), WAIT, 502, "UPE", True),
    "push": (frames.frame(frames.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), WAIT, 502, "UPE", True),
    "other-protocol": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", WAIT, 502, "UPE", True),
}
REFUSED = {"refuses", "goes-away"}
"""Those in which the upstream says that it has not taken the request."""


async def play(stream: trio.SocketStream) -> None:
    """One connection: the first request's case, then nothing more of it."""
    async with stream:
        received, path = b"", b""
        await stream.send_all(frames.settings({}) + frames.frame(frames.SETTINGS, frames.ACK, 0))
        while not path:
            more = await stream.receive_some()
            if not more:
                return
            received += more
            path = asked(received)
        sent, end, *_ = CASES[path.decode().lstrip("/")]
        with contextlib.suppress(trio.BrokenResourceError):
            # No other case may come on this connection.
            leaving = frames.goaway(1, 0) if end == WAIT and not sent.startswith(frames.goaway(0, 0)) else b""
            await stream.send_all(sent + leaving)
            if end == RESET:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            while end == WAIT and await stream.receive_some():
                pass


def asked(received: bytes) -> bytes:
    """The path of the first request, once its head is there."""
    at = len(frames.PREFACE)
    while len(received) >= at + 9:
        end = at + 9 + int.from_bytes(received[at : at + 3])
        if received[at + 3] == frames.HEADERS and len(received) >= end:
            return dict(Decoder().decode(received[at + 9 : end], raw=True))[b":path"]
        at = end
    return b""


@pytest.mark.parametrize("engine", ["trio", "envoy"])
@pytest.mark.parametrize("downstream", ["http1", "http2"])
async def test_what_an_http2_upstream_does_wrong_is_told_and_never_looks_right(
    engine: str, downstream: str, tmp_path: Path
) -> None:
    ask = by_http1 if downstream == "http1" else by_http2
    found: dict[str, tuple[int, bool]] = {}
    counted: dict[str, dict[str, int]] = {}
    async with serving(engine, tmp_path, play=play, names=CASES, protocol="http2") as before_origin:
        for name in CASES:
            before = await before_origin.numbers()
            with trio.fail_after(10):
                found[name] = await ask(before_origin.port, name)
            counted[name] = await counted_since(before, before_origin.numbers)
        logged = await logged_in(trio.Path(before_origin.log), len(CASES))
    expected = {name: (status, flag, whole) for name, (_, _, status, flag, whole) in CASES.items()}
    seen = {name: (found[name][0], logged[name][0], found[name][1]) for name in CASES}
    # A reset may overtake the head of a reply that is cut: then the client saw nothing.
    seen |= {name: (expected[name][0], *one[1:]) for name, one in seen.items() if one[0] == 0 and not one[2]}
    assert {name: (one, expected[name]) for name, one in seen.items() if one != expected[name]} == {}
    for name, (_, flag, whole) in expected.items():
        assert logged[name][1] == details_of(flag, whole=whole, refused=name in REFUSED), name
    right = {
        name: metrics_of(status, flag, left=flag == "UC", reset=name.startswith("resets"), istio=engine == "trio")
        for name, (status, flag, _) in expected.items()
    }
    assert {name: (one, right[name]) for name, one in counted.items() if one != right[name]} == {}
