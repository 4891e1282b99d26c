"""The paced load against servers that answer by a script: what it counts as failed, and that it keeps its pace."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.judging import Marks
from benchmarks.paced import Load, Seen

pytestmark = pytest.mark.integration

DIGEST = "0123456789ab"
MARKS = Marks(("edge",), ((DIGEST, {"edge": {"x-mark": "1"}}),))
REPLY = f"HTTP/1.1 200 OK\r\nx-weft-snapshot: edge={DIGEST}\r\nX-Mark: 1\r\ncontent-length: 5\r\n\r\nhello".encode()
Answer = Callable[[int], bytes]
"""The number of the request, to what is sent; an empty reply closes the connection."""


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    numbers = iter(range(1_000_000))

    def serve(stream: socket.socket) -> None:
        with stream, suppress(OSError):
            while stream.recv(4096):
                reply = answer(next(numbers))
                if not reply:
                    return
                stream.sendall(reply)

    def accept() -> None:
        with suppress(OSError):
            while True:
                stream, _ = server.accept()
                threading.Thread(target=serve, args=(stream,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def seen(answer: Answer, *, rate: float = 500.0) -> Seen:
    """Half a second of load."""
    reading, writing = os.pipe()
    ending = threading.Timer(0.5, os.close, (writing,))
    with answering(answer) as port:
        ending.start()
        found = Load(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", rate, MARKS).run(4, reading)
    os.close(reading)
    return found


def test_the_pace_is_kept_and_whole_right_replies_are_no_fault() -> None:
    found = seen(lambda _number: REPLY)
    assert found.failed == []
    assert (found.refused, found.wrong, found.changes, found.opened) == ({}, {}, [1], 4)
    assert found.rate == pytest.approx(500, rel=0.1)


def test_a_pause_of_the_server_is_made_up_for_and_shows_in_the_times() -> None:
    def answer(number: int) -> bytes:
        if number == 50:
            time.sleep(0.1)
        return REPLY

    found = seen(answer)
    assert found.rate == pytest.approx(500, rel=0.1)
    assert found.longest_ms >= 100


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        (REPLY.replace(b"200 OK", b"503 Unavailable"), ("503", "", 0)),
        (REPLY.replace(b"X-Mark: 1", b"X-Mark: 2"), ("", "mixed", 0)),
        (REPLY.replace(DIGEST.encode(), b"another-one-"), ("", "unknown", 0)),
        (b"", ("", "", 1)),
        (REPLY.replace(b"content-length", b"connection: close\r\ncontent-length"), ("", "", 0)),
    ],
    ids=["refused", "two snapshots", "no snapshot", "closed", "closed after the reply"],
)
def test_one_bad_reply_among_good_ones_is_counted(reply: bytes, counted: tuple[str, str, int]) -> None:
    status, verdict, failed = counted
    found = seen(lambda number: reply if number == 100 else REPLY)
    assert [*found.refused] == ([status] if status else [])
    assert found.wrong == ({verdict: 1} if verdict else {})
    assert len(found.failed) == failed
    assert found.requests > 150
