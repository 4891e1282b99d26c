"""Responses from an upstream, which is not trusted with framing either; and the requests that are sent to it."""

from __future__ import annotations

import pytest

from policies.head import RequestHead, ResponseHead
from runtime.http1 import END, NEED_DATA, PAUSED, EndOfMessage, Http1Client, ProtocolError, Reason


def head(method: str = "GET", path: str = "/", authority: str = "a", query: str | None = None) -> RequestHead:
    return RequestHead(method, "http", authority, authority, path, query, [])


def asked(method: str = "GET", *, upgrade: bytes = b"") -> Http1Client:
    client = Http1Client()
    client.send_head(head(method, authority="a:1"), [], upgrade=upgrade)
    return client


def test_requests_are_written_exactly() -> None:
    fields = [(b"x", b"1"), (b"content-length", b"99"), (b"connection", b"x"), (b"host", b"evil")]
    client = Http1Client()
    assert client.send_head(head(query="q"), fields) == b"GET /?q HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n"
    client = Http1Client()
    assert (
        client.send_head(head("POST"), fields, content_length=3) + client.send_data(b"abc") + client.send_end()
        == b"POST / HTTP/1.1\r\nhost: a\r\nx: 1\r\ncontent-length: 3\r\n\r\nabc"
    )
    client = Http1Client()
    assert client.send_head(head("POST"), [], chunked=True).endswith(b"host: a\r\ntransfer-encoding: chunked\r\n\r\n")
    assert (
        client.send_data(b"abc") + client.send_data(b"") + client.send_end([(b"t", b"1")])
        == b"3\r\nabc\r\n0\r\nt: 1\r\n\r\n"
    )
    client = Http1Client()
    assert client.send_head(head(), [], upgrade=b"websocket").endswith(
        b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    client = Http1Client()
    assert client.send_head(head("CONNECT", "", "b:1"), []) == b"CONNECT b:1 HTTP/1.1\r\nhost: b:1\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "authority"), [("/a b", "a"), ("/a\r\nx: 1", "a"), ("", "a"), ("/", "a\r\nx: 1"), ("/", "")]
)
def test_a_rewrite_cannot_split_a_request(path: str, authority: str) -> None:
    with pytest.raises(ProtocolError):
        Http1Client().send_head(head("GET", path, authority), [])


def test_a_response_with_its_body_in_one_piece_takes_two_calls() -> None:
    client = asked()
    response = client.receive_data(
        b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
    )
    assert response == ResponseHead(200, [(b"a", b"1"), (b"content-length", b"5")])
    assert client.content_length == 5
    assert not client.complete
    assert client.next_event() == b"hello"
    assert client.complete
    assert client.reusable
    client.send_head(head(), [])
    assert client.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("method", "wire", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 5),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 0),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ],
)
def test_a_response_that_cannot_have_a_body_is_complete_with_its_head(
    method: str, wire: bytes, length: int | None
) -> None:
    client = asked(method)
    assert isinstance(client.receive_data(wire), ResponseHead)
    assert client.complete
    assert client.reusable
    assert client.content_length == length


def test_chunked_and_until_close_bodies_end_as_they_should() -> None:
    client = asked()
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n")
    assert client.next_event() == b"abc"
    assert client.next_event() == EndOfMessage([(b"t", b"1")])
    assert client.reusable
    client = asked()
    client.receive_data(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert client.next_event() == b"abc"
    assert client.receive_data(b"d") == b"d"
    assert not client.complete
    assert client.receive_eof() is END
    assert client.complete
    assert not client.reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_response_cut_short_is_an_error_never_an_end(wire: bytes) -> None:
    client = asked()
    event = client.receive_data(wire)
    while event is not NEED_DATA:
        event = client.next_event()
    with pytest.raises(ProtocolError) as caught:
        client.receive_eof()
    assert caught.value.reason is Reason.TRUNCATED
    assert not client.reusable


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Reason.CONTENT_LENGTH),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Reason.BOTH_LENGTHS),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Reason.TRANSFER_ENCODING),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Reason.TRANSFER_ENCODING),
        (b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n", Reason.FIELD),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n", Reason.FIELD),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Reason.BODY_NOT_ALLOWED),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            Reason.UNEXPECTED_UPGRADE,
        ),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", Reason.BODY_NOT_ALLOWED),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17, Reason.BODY_NOT_ALLOWED),
        (b"HTTP/2 200\r\n\r\n", Reason.STATUS_LINE),
        (b"HTTP/1.1 20 OK\r\n\r\n", Reason.STATUS_LINE),
        (b"HTTP/1.1 200 O\x00K\r\n\r\n", Reason.STATUS_LINE),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Reason.STATUS_LINE),
        (b"ICY 200 OK", Reason.STATUS_LINE),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 33_000, Reason.HEAD_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n" + b"a: 1\r\n" * 101 + b"\r\n", Reason.TOO_MANY_FIELDS),
    ],
)
def test_a_bad_response_is_refused(wire: bytes, reason: Reason) -> None:
    client = asked()
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        event = client.receive_data(wire)
        while isinstance(event, ResponseHead):
            event = client.next_event()
    assert caught.value.reason is reason
    assert not client.reusable


def test_informational_responses_come_before_the_final_one() -> None:
    client = asked()
    assert client.receive_data(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    ) == ResponseHead(100, [])
    assert client.next_event() == ResponseHead(103, [(b"link", b"x")])
    assert client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == ResponseHead(
        200, [(b"content-length", b"0")]
    )
    assert client.reusable


def test_bytes_that_nobody_asked_for_are_refused_and_leftovers_forbid_reuse() -> None:
    with pytest.raises(ProtocolError) as caught:
        Http1Client().receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert caught.value.reason is Reason.UNSOLICITED
    client = asked()
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert client.complete
    assert not client.reusable


def test_a_response_before_the_request_has_ended_forbids_reuse_until_it_has() -> None:
    client = Http1Client()
    client.send_head(head("POST"), [], content_length=3)
    client.receive_data(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert client.complete
    assert not client.reusable
    client.send_data(b"abc")
    client.send_end()
    assert client.reusable


def test_only_the_upgrade_that_was_asked_for_opens_a_tunnel() -> None:
    wire = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\nraw"
    client = asked(upgrade=b"websocket")
    response = client.receive_data(wire % b"WebSocket")
    assert isinstance(response, ResponseHead)
    assert client.next_event() == b"raw"
    assert client.receive_data(b"more") == b"more"
    with pytest.raises(ProtocolError):
        asked(upgrade=b"websocket").receive_data(wire % b"other")
    refused = asked(upgrade=b"websocket")
    refused.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
    assert refused.next_event() == b"no"
    assert refused.reusable


def test_a_connect_that_is_granted_is_a_tunnel_and_one_that_is_not_is_a_response() -> None:
    client = asked("CONNECT")
    assert isinstance(client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nraw"), ResponseHead)
    assert client.next_event() == b"raw"
    assert client.next_event() is NEED_DATA
    client = asked("CONNECT")
    client.receive_data(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert client.next_event() == b"no"


def test_an_idle_upstream_may_close() -> None:
    client = asked()
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert client.receive_eof() is PAUSED
    assert not client.reusable
