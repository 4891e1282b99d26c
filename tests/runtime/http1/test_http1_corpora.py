"""Every request of the HTTP/1 corpora, in random pieces: the codec reads the same however it comes, and what it takes h11 reads identically."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Iterator

import h11
import pytest

from policies.head import Headers, RequestHead
from runtime.http1 import NEED_DATA, PAUSED, EndOfMessage, Http1Server, ProtocolError
from tests.conformance.corpus import read
from tests.conformance.gadgets import wire_of
from tests.conformance.llhttp import with_host

CHUNKINGS = 4
HOP = {b"host", b"connection", b"transfer-encoding", b"te", b"upgrade", b"keep-alive", b"proxy-connection", b"expect"}
HOP |= {b"http2-settings"}
Read = tuple[str, str, str, Headers, bytes, Headers]


def corpora() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each case that is a request."""
    for case in read("http1/llhttp_cases.json"):
        if case["kind"] == "http" and case["meta"].get("type") in ("request", "request-finish"):
            raw = base64.b64decode(case["input_b64"])
            yield case["id"], raw
            yield f"{case['id']} with Host", with_host(raw)
    for case in read("http1/http11probe_cases.json"):
        if "payload_b64" in case:
            yield case["id"], base64.b64decode(case["payload_b64"])
    for case in read("http1/h1spec_cases.json"):
        yield case["description"], case["request"].encode("latin-1")
    for gadget in read("http1/smuggler_gadgets.json"):
        yield gadget["id"], wire_of(gadget)


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, bytes]]:
    found = list(corpora())
    assert len(found) > 1_400
    return found


def ours(pieces: list[bytes]) -> tuple[list[Read], bool]:
    """The requests of a connection that were read whole, and whether it was then refused."""
    server = Http1Server()
    requests: list[Read] = []
    head: RequestHead | None = None
    data, trailers = b"", []
    try:
        for piece in pieces:
            event = server.receive_data(piece)
            while True:
                if isinstance(event, RequestHead):
                    head, data, trailers = event, b"", []
                elif isinstance(event, bytes):
                    data += event
                elif isinstance(event, EndOfMessage):
                    trailers = event.trailers
                if server.complete and head is not None and event is not NEED_DATA:
                    # A body's last bytes complete it before its end is told.
                    while not isinstance(event, EndOfMessage) and (event := server.next_event()) is not PAUSED:
                        trailers = event.trailers if isinstance(event, EndOfMessage) else trailers
                    path = head.path if head.query is None else f"{head.path}?{head.query}"
                    requests.append((head.method, head.authority, path, head.headers, data, trailers))
                    if not server.keep_alive or server.upgrade or head.method == "CONNECT":
                        return requests, False
                    head = None
                    server.start_next()
                elif event is NEED_DATA or event is PAUSED:
                    break
                event = server.next_event()
    except ProtocolError:
        return requests, True
    return requests, False


def pieces_of(wire: bytes, draws: random.Random) -> list[bytes]:
    count = draws.randint(1, min(12, len(wire)))
    edges = [0, *sorted(draws.sample(range(1, len(wire)), min(count, len(wire) - 1))), len(wire)]
    return [wire[start:end] for start, end in itertools.pairwise(edges)]


def test_every_case_reads_the_same_in_any_pieces(cases: list[tuple[str, bytes]]) -> None:
    draws = random.Random(1)
    for name, wire in cases:
        if len(wire) < 2:
            continue
        whole = ours([wire])
        for _ in range(CHUNKINGS):
            assert ours(pieces_of(wire, draws)) == whole, name
        if len(wire) < 2_000:
            assert ours([wire[at : at + 1] for at in range(len(wire))]) == whole, name


def theirs(wire: bytes) -> tuple[h11.Request, bytes, Headers]:
    """The first request as h11 reads it; raises RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    head, data = connection.next_event(), b""
    assert isinstance(head, h11.Request), head
    while isinstance(event := connection.next_event(), h11.Data):
        data += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    return head, data, list(event.headers)


def test_what_is_taken_of_the_corpora_h11_reads_identically(cases: list[tuple[str, bytes]]) -> None:
    taken = 0
    for name, wire in cases:
        requests, _ = ours([wire])
        if not requests:
            continue
        taken += 1
        method, authority, _, headers, data, trailers = requests[0]
        # One empty line before a request is allowed (RFC 9112 section 2.2); h11 knows none.
        judged, judged_data, judged_trailers = theirs(wire.removeprefix(b"\r\n"))
        nominated = {
            part.strip().lower() for key, text in judged.headers if key == b"connection" for part in text.split(b",")
        }
        expected = [(key, text) for key, text in judged.headers if key not in HOP | nominated]
        assert method.encode() == judged.method, name
        assert authority.encode().lower() == dict(judged.headers)[b"host"].lower() or b"://" in judged.target, name
        assert [pair for pair in headers if pair[0] not in nominated] == expected, name
        assert (data, trailers) == (judged_data, judged_trailers), name
    assert taken > 90
