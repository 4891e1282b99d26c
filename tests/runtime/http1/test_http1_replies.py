"""Replies to a client: who owns framing, and what may have a body."""

from __future__ import annotations

import pytest

from runtime.http1 import Http1Server, ProtocolError


def asked(start: bytes = b"GET / HTTP/1.1", *lines: bytes) -> Http1Server:
    server = Http1Server()
    server.receive_data(start + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    return server


def reply(server: Http1Server, status: int = 200, *, content_length: int | None = None, body: bytes = b"ab") -> bytes:
    wire = server.send_head(status, [(b"x", b"1"), (b"content-length", b"99")], content_length=content_length)
    return wire + server.send_data(body) + server.send_end()


CASES = [
    (b"GET / HTTP/1.1", 200, 2, b"HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 2\r\n\r\nab"),
    (
        b"GET / HTTP/1.1",
        200,
        None,
        b"HTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ),
    (b"GET / HTTP/1.0", 200, 2, b"HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab"),
    (b"GET / HTTP/1.0", 200, None, b"HTTP/1.1 200 OK\r\nx: 1\r\nconnection: close\r\n\r\nab"),
    (b"HEAD / HTTP/1.1", 200, 2, b"HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 2\r\n\r\n"),
    (b"HEAD / HTTP/1.1", 200, None, b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n"),
    (b"GET / HTTP/1.1", 304, 2, b"HTTP/1.1 304 Not Modified\r\nx: 1\r\ncontent-length: 2\r\n\r\n"),
    (b"GET / HTTP/1.1", 204, 0, b"HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n"),
    (b"GET / HTTP/1.1", 299, 2, b"HTTP/1.1 299 \r\nx: 1\r\ncontent-length: 2\r\n\r\nab"),
]


@pytest.mark.parametrize(("start", "status", "length", "expected"), CASES)
def test_a_reply_is_framed_by_the_codec_alone(start: bytes, status: int, length: int | None, expected: bytes) -> None:
    assert reply(asked(start), status, content_length=length) == expected


def test_the_connection_header_says_what_will_happen() -> None:
    assert b"connection: close\r\n" in reply(asked(b"GET / HTTP/1.1", b"Connection: close"), content_length=2)
    assert b"connection: keep-alive\r\n" in reply(asked(b"GET / HTTP/1.0", b"Connection: keep-alive"), content_length=2)
    server = asked(b"GET / HTTP/1.0", b"Connection: keep-alive")
    assert b"connection: close\r\n" in reply(server)
    assert not server.keep_alive
    server = asked()
    server.keep_alive = False  # A drain.
    assert b"connection: close\r\n" in reply(server, content_length=2)


def test_one_exchanges_framing_does_not_reach_the_next() -> None:
    server = asked(b"HEAD / HTTP/1.1")
    reply(server)
    server.start_next()
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply(server).endswith(b"2\r\nab\r\n0\r\n\r\n")
    server.start_next()
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reply(server, content_length=2).endswith(b"content-length: 2\r\n\r\nab")


def test_informational_replies_go_only_to_those_who_know_them() -> None:
    assert asked().send_informational(103, [(b"link", b"x")]) == b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    assert asked(b"GET / HTTP/1.0").send_informational(100, []) == b""


def test_a_switch_names_the_protocol_that_was_asked_for() -> None:
    server = asked(b"GET / HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket")
    assert server.start_tunnel(101, [(b"sec", b"1")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nsec: 1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )


def test_a_refused_request_can_be_answered_and_closes() -> None:
    server = Http1Server()
    with pytest.raises(ProtocolError) as caught:
        server.receive_data(b"BAD\r\n\r\n")
    assert server.send_head(caught.value.status, [], content_length=0) == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )


def test_trailers_go_out_only_where_the_body_is_chunked() -> None:
    server = asked()
    server.send_head(200, [], content_length=None)
    assert server.send_end([(b"t", b"1")]) == b"0\r\nt: 1\r\n\r\n"
    server = asked()
    server.send_head(200, [], content_length=0)
    assert server.send_end([(b"t", b"1")]) == b""
