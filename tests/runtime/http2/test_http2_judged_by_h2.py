"""The h2 library as the peer of both roles: what ours sends it accepts, and both see the same messages."""

from __future__ import annotations

from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import pytest

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http2 import Http2Client, Http2Server
from runtime.http2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from runtime.http2.frames import goaway

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test:80"), (":path", "/x?y=1")]


def judge(*, client: bool) -> h2.connection.H2Connection:
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
    peer.initiate_connection()
    return peer


def exchange(
    ours: Http2Server | Http2Client, peer: h2.connection.H2Connection
) -> tuple[list[Event], list[h2.events.Event]]:
    """Moves bytes both ways until both are silent."""
    seen: list[Event] = []
    theirs: list[h2.events.Event] = []
    while True:
        out, back = ours.data_to_send(), peer.data_to_send()
        if not out and not back:
            return seen, theirs
        if out:
            theirs += peer.receive_data(out)
        if back:
            seen += ours.receive_data(back)


def only(events: list[Event], kind: type) -> list[Event]:
    return [event for event in events if type(event) is kind]


def chunks(size: int) -> Iterator[bytes]:
    while size > 0:
        yield b"x" * min(size, 10_000)
        size -= 10_000


def test_a_request_and_its_reply_pass_the_server() -> None:
    server, peer = Http2Server(), judge(client=True)
    peer.send_headers(1, [*GET, ("x-a", "1"), ("cookie", "a=1"), ("cookie", "b=2")], end_stream=True)
    seen, _ = exchange(server, peer)
    (request,) = only(seen, RequestReceived)
    assert request == RequestReceived(
        1,
        RequestHead("GET", "http", "a.test:80", "a.test", "/x", "y=1", [(b"x-a", b"1"), (b"cookie", b"a=1; b=2")]),
        None,
        ended=True,
    )
    server.send_head(1, 103, [(b"link", b"l")], content_length=None, end=False)
    server.send_head(1, 200, [(b"x-b", b"2"), (b"connection", b"close")], content_length=5, end=False)
    assert server.send_data(1, b"hello", end=False) == 5
    server.send_trailers(1, [(b"t", b"1")])
    _, theirs = exchange(server, peer)
    kinds = [type(event).__name__ for event in theirs]
    assert kinds == [
        "InformationalResponseReceived",
        "ResponseReceived",
        "DataReceived",
        "TrailersReceived",
        "StreamEnded",
    ]
    assert theirs[1].headers == [(":status", "200"), ("x-b", "2"), ("content-length", "5")]
    assert server.open_streams == 0


def test_a_reply_larger_than_the_windows_waits_for_them() -> None:
    server, peer = Http2Server(), judge(client=True)
    peer.send_headers(1, GET, end_stream=True)
    exchange(server, peer)
    body = b"0123456789" * 30_000
    server.send_head(1, 200, [], content_length=len(body), end=False)
    sent = server.send_data(1, body, end=True)
    assert sent == 65_535
    got, rounds = b"", 0
    while got != body:
        seen, theirs = exchange(server, peer)
        for event in theirs:
            if isinstance(event, h2.events.DataReceived):
                got += event.data
                peer.acknowledge_received_data(event.flow_controlled_length, 1)
        seen += exchange(server, peer)[0]
        if only(seen, WindowOpened):
            sent += server.send_data(1, body[sent:], end=True)
        rounds += 1
        assert rounds < 100
    assert server.open_streams == 0


def test_a_large_request_flows_only_as_it_is_acknowledged() -> None:
    server, peer = Http2Server(), judge(client=True)
    exchange(server, peer)
    peer.send_headers(1, [*GET, ("content-length", "200000")])
    owed, got = 0, 0
    for piece in chunks(200_000):
        while peer.local_flow_control_window(1) < len(piece):
            assert owed > 0
            server.acknowledge(1, owed)
            owed = 0
            exchange(server, peer)
        peer.send_data(1, piece, end_stream=got + len(piece) == 200_000)
        seen, _ = exchange(server, peer)
        for event in seen:
            if isinstance(event, DataReceived):
                got += len(event.data)
                owed += event.flow_bytes
    assert got == 200_000
    assert server.is_open(1)


def test_without_acknowledgement_the_window_closes() -> None:
    server, peer = Http2Server(), judge(client=True)
    exchange(server, peer)
    peer.send_headers(1, GET)
    sent = 0
    while peer.local_flow_control_window(1) >= 8192:
        peer.send_data(1, b"x" * 8192)
        sent += 8192
        exchange(server, peer)
    assert sent == 65_536


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_request_and_its_response_pass_the_client(method: str) -> None:
    client, peer = Http2Client(), judge(client=False)
    exchange(client, peer)
    head = RequestHead(method, "http", "a.test", "a.test", "/p", "q", [])
    fields: Headers = [(b"x-a", b"1"), (b"authorization", b"secret"), (b"te", b"trailers"), (b"host", b"evil")]
    stream = client.send_head(head, fields, content_length=3 if method == "POST" else None, end=method != "POST")
    if method == "POST":
        assert client.send_data(stream, b"abc", end=True) == 3
    _, theirs = exchange(client, peer)
    assert theirs[0].headers[:4] == [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/p?q"),
    ]
    assert ("x-a", "1") in theirs[0].headers
    assert ("host", "evil") not in theirs[0].headers
    peer.send_headers(stream, [(":status", "200"), ("content-length", "5"), ("x-b", "2")], end_stream=method == "HEAD")
    if method != "HEAD":
        peer.send_data(stream, b"hello")
        peer.send_headers(stream, [("t", "1")], end_stream=True)
    seen, _ = exchange(client, peer)
    (response,) = only(seen, ResponseReceived)
    assert isinstance(response, ResponseReceived)
    assert response.head == ResponseHead(200, [(b"content-length", b"5"), (b"x-b", b"2")])
    assert response.content_length == 5
    assert response.ended is (method == "HEAD")
    if method != "HEAD":
        assert only(seen, TrailersReceived) == [TrailersReceived(stream, [(b"t", b"1")])]
    assert client.open_streams == 0


def test_a_body_shorter_than_its_length_is_reset_never_ended() -> None:
    server, peer = Http2Server(), judge(client=True)
    peer.config.validate_outbound_headers = False
    peer.send_headers(1, [*GET, ("content-length", "5")])
    peer.send_data(1, b"hell", end_stream=True)
    seen, theirs = exchange(server, peer)
    assert not [event for event in seen if isinstance(event, DataReceived) and event.ended]
    assert only(seen, StreamReset)
    assert [type(event).__name__ for event in theirs if "Reset" in type(event).__name__] == ["StreamReset"]


def test_what_the_client_refuses_or_leaves_is_safe_to_retry() -> None:
    client, peer = Http2Client(), judge(client=False)
    exchange(client, peer)
    head = RequestHead("GET", "http", "a", "a", "/", None, [])
    first, second, third = (client.send_head(head, [], end=True) for _ in range(3))
    exchange(client, peer)
    peer.reset_stream(first, error_code=7)
    seen, _ = exchange(client, peer)
    assert only(seen, StreamReset) == [StreamReset(first, 7, unprocessed=True)]
    peer.close_connection(last_stream_id=second)
    seen, _ = exchange(client, peer)
    assert only(seen, StreamReset) == [StreamReset(third, 7, unprocessed=True)]
    assert client.capacity == 0
    assert client.is_open(second)


def test_a_drain_refuses_only_after_the_client_has_heard() -> None:
    server, peer = Http2Server(), judge(client=True)
    peer.send_headers(1, GET, end_stream=True)
    exchange(server, peer)
    server.drain()
    # The library takes nothing more after a GOAWAY, so the rest of the conversation is by hand.
    said = server.data_to_send()
    assert said.startswith(goaway(2**31 - 1, 0))
    ping = said[len(goaway(0, 0)) :]
    assert not server.drained
    server.receive_data(ping[:4] + b"\x01" + ping[5:])
    assert server.data_to_send() == goaway(1, 0)
    server.send_head(1, 200, [], content_length=0, end=True)
    assert server.drained


def test_a_drain_waits_until_the_client_has_answered_our_settings() -> None:
    server, peer = Http2Server(), judge(client=True)
    server.receive_data(peer.data_to_send())
    server.drain()
    said = server.data_to_send()
    assert goaway(2**31 - 1, 0) not in said
    peer.receive_data(said)
    server.receive_data(peer.data_to_send())
    assert server.data_to_send().startswith(goaway(2**31 - 1, 0))


def test_repeated_requests_read_the_same_from_memory_as_at_first() -> None:
    server, peer = Http2Server(), judge(client=True)
    heads = []
    for number in range(6):
        # The third brings a new table entry, so what was remembered of the first two must not be used for the rest.
        extra = [("x-new", str(number))] if number == 2 else []
        peer.send_headers(1 + 2 * number, [*GET, ("x-a", "1"), *extra], end_stream=True)
        seen, _ = exchange(server, peer)
        (request,) = only(seen, RequestReceived)
        assert isinstance(request, RequestReceived)
        heads.append(request.head.headers)
        request.head.headers.append((b"edited", b"by the exchange"))
    expected = [[(b"x-a", b"1")], [(b"x-a", b"1")], [(b"x-a", b"1"), (b"x-new", b"2")], *[[(b"x-a", b"1")]] * 3]
    assert [headers[:-1] for headers in heads] == expected
