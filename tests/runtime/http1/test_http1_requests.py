"""Requests as tables: what is read and how, what is refused and with which status."""

from __future__ import annotations

import pytest

from policies.head import RequestHead
from runtime.http1 import END, NEED_DATA, PAUSED, EndOfMessage, Http1Server, Limits, ProtocolError, Reason

READ = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a a / None"),
    (b"GET /x?y=1?z HTTP/1.1\r\nHost: A.Example:8080\r\n\r\n", "GET http A.Example:8080 a.example /x y=1?z"),
    (b"GET /x? HTTP/1.1\r\nHost: a.\r\n\r\n", "GET http a. a /x "),
    (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET http [::1]:80 [::1] / None"),
    (b"GET /a/../b//c HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a a /b//c None"),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http a a * None"),
    (b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n", "CONNECT http a.b:443 a.b  None"),
    (b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", "CONNECT http a.b:443 a.b  None"),
    (b"GET HTTPS://a.b/c?d HTTP/1.1\r\nHost: A.b:443\r\n\r\n", "GET https a.b a.b /c d"),
    (b"GET http://a.b?d HTTP/1.1\r\nHost: a.b\r\n\r\n", "GET http a.b a.b / d"),
    (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET http a a / None"),
    (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a a / None"),
    (b'M-SEARCH /"|x HTTP/1.1\r\nHost: a\r\n\r\n', 'M-SEARCH http a a /"|x None'),
]


@pytest.mark.parametrize(("wire", "expected"), READ)
def test_a_request_is_read_as_written(wire: bytes, expected: str) -> None:
    head = Http1Server().receive_data(wire)
    assert isinstance(head, RequestHead)
    said = (head.method, head.scheme, head.authority, head.host, head.path, head.query)
    assert " ".join(map(str, said)) == expected


def request(*lines: bytes, start: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: a\r\n", body: bytes = b"") -> bytes:
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def start(line: bytes) -> bytes:
    return request(start=line)


REFUSED = [
    (start(b"GET  / HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"GET / HTTP/1.1 "), Reason.REQUEST_LINE, 400),
    (start(b"GET /\t HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b" GET / HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"G(T / HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"GET /#f HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"GET /\xc3\xa9 HTTP/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"GET / http/1.1"), Reason.REQUEST_LINE, 400),
    (start(b"GET / HTTP/01.1"), Reason.REQUEST_LINE, 400),
    (b"GET /\r\n", Reason.REQUEST_LINE, 400),
    (b"\x16\x03\x01\x02\x00", Reason.REQUEST_LINE, 400),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Reason.REQUEST_LINE, 400),
    (b"X" * 65, Reason.REQUEST_LINE, 400),
    (start(b"MKCOLA / HTTP/1.1"), Reason.METHOD, 400),
    (start(b"get / HTTP/1.1"), Reason.METHOD, 400),
    (b"PRI / HTTP/1.1\r\n", Reason.METHOD, 400),
    (start(b"GET / HTTP/1.2"), Reason.VERSION, 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.VERSION, 505),
    (start(b"GET * HTTP/1.1"), Reason.TARGET, 400),
    (start(b"GET a/b HTTP/1.1"), Reason.TARGET, 400),
    (start(b"GET ftp://a/ HTTP/1.1"), Reason.TARGET, 400),
    (start(b"CONNECT a HTTP/1.1"), Reason.TARGET, 400),
    (start(b"CONNECT /x HTTP/1.1"), Reason.HOST, 400),
    (start(b"GET http://b/ HTTP/1.1"), Reason.HOST_MISMATCH, 400),
    (start(b"GET http://u:p@a/ HTTP/1.1"), Reason.HOST, 400),
    (start(b"CONNECT b:1 HTTP/1.1"), Reason.HOST_MISMATCH, 400),
    (start(b"GET /a%00b HTTP/1.1"), Reason.PATH, 400),
    (request(host=b""), Reason.HOST, 400),
    (request(host=b"Host:\r\n"), Reason.HOST, 400),
    (request(host=b"Host: a\r\nhost: a\r\n"), Reason.HOST, 400),
    *[
        (request(host=b"Host: " + bad + b"\r\n"), Reason.HOST, 400)
        for bad in (
            b"u@a",
            b"a/b",
            b"a,b",
            b"a b",
            b"a:",
            b"a:0",
            b"a:65536",
            b"a:x",
            b".",
            b"a..b",
            b"a%41",
            b"[::1",
            b"::1",
            b"a?b",
            b"\xe9",
        )
    ],
    *[
        (request(bad), Reason.FIELD, 400)
        for bad in (
            b"X : a",
            b"X\t: a",
            b": a",
            b"X",
            b" X: a",
            b"X: a\r\n b",
            b"X: a\r\n\tb",
            b"X: a\rb",
            b"X: a\nb: c",
            b"X: \x00",
            b"X: a\x7f",
            b"X: a\x0b",
            b"X[: a",
            b"\xc3\xab: a",
            b"Content\tLength: 5",
        )
    ],
    *[
        (request(b"Content-Length: " + bad, body=b"hello"), Reason.CONTENT_LENGTH, 400)
        for bad in (b"+5", b"-0", b"0x5", b"5, 5", b"5 5", b"", b"1_0", b"five", b"9" * 19)
    ],
    (request(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), Reason.CONTENT_LENGTH, 400),
    (request(b"Transfer-Encoding: chunked", b"Content-Length: 5"), Reason.BOTH_LENGTHS, 400),
    (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), Reason.TRANSFER_ENCODING, 400),
    *[
        (request(b"Transfer-Encoding: " + bad), Reason.TRANSFER_ENCODING, 400)
        for bad in (
            b"",
            b"identity",
            b"xchunked",
            b"chunked, gzip",
            b", chunked",
            b"chunked, chunked",
            b'"chunked"',
            b"chunked;q=1",
        )
    ],
    (request(b"Transfer-Encoding: gzip, chunked"), Reason.UNKNOWN_CODING, 501),
    (request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), Reason.TRANSFER_ENCODING, 400),
    (request(b"Expect: 200-ok"), Reason.EXPECTATION, 417),
    (request(b"Content-Length: 5", start=b"TRACE / HTTP/1.1"), Reason.BODY_NOT_ALLOWED, 400),
    (request(b"Content-Length: 5", start=b"CONNECT a:1 HTTP/1.1"), Reason.BODY_NOT_ALLOWED, 400),
    (request(*[b"X: a"] * 100), Reason.TOO_MANY_FIELDS, 431),
    (request(b"X: " + b"a" * 33_000), Reason.HEAD_TOO_LARGE, 431),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 33_000, Reason.HEAD_TOO_LARGE, 431),
    (b"GET /" + b"a" * 33_000, Reason.TARGET_TOO_LONG, 414),
]


@pytest.mark.parametrize(("wire", "reason", "status"), REFUSED)
def test_a_bad_request_is_refused(wire: bytes, reason: Reason, status: int) -> None:
    server = Http1Server()
    with pytest.raises(ProtocolError) as caught:
        server.receive_data(wire)
    assert (caught.value.reason, caught.value.status) == (reason, status)
    assert server.keep_alive is False
    assert server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is PAUSED


@pytest.mark.parametrize(("wire", "reason", "status"), REFUSED)
def test_a_bad_request_is_refused_byte_by_byte_too(wire: bytes, reason: Reason, status: int) -> None:
    server = Http1Server()
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        for index in range(0, len(wire), 1 if len(wire) < 2000 else 1000):
            assert server.receive_data(wire[index : index + (1 if len(wire) < 2000 else 1000)]) is NEED_DATA
    # An absurd first line may be found out before what a whole head would be blamed for.
    assert caught.value.reason in {reason, Reason.REQUEST_LINE}
    assert status >= 400


@pytest.mark.parametrize(
    "unfinished",
    [
        b"bad field\r\n",
        b" folded\r\n",
        b"x: y\nz: 1",
        b"x: \ry",
        b"\rGET",
        b"content-length: 1000000000000000000000\r\n",
        b"content-length: a\r\nx",
    ],
)
def test_what_no_rest_of_a_head_can_mend_is_refused_before_the_head_ends(unfinished: bytes) -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    for pieces in ([start + unfinished], [start, unfinished], [bytes([byte]) for byte in start + unfinished]):
        server = Http1Server()
        with pytest.raises(ProtocolError):  # noqa: PT012  Which piece shows it differs.
            for piece in pieces:
                assert server.receive_data(piece) is NEED_DATA


def test_a_head_in_small_pieces_is_the_same_head_also_after_another() -> None:
    wire = b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Long: 12345\r\nX: y\r\n\r\n"
    server = Http1Server()
    for number in range(3):
        events = [server.receive_data(bytes([byte])) for byte in wire % number]
        assert all(event is NEED_DATA for event in events[:-1])
        assert isinstance(head := events[-1], RequestHead)
        assert (head.path, head.headers) == (f"/{number}", [(b"x-long", b"12345"), (b"x", b"y")])
        server.start_next()


def test_fields_are_lower_case_trimmed_in_order_and_without_the_connections_own() -> None:
    server = Http1Server()
    head = server.receive_data(
        request(
            b"X-One:  a b \t",
            b"CONNECTION: keep-alive, X-Mine, x-request-id",
            b"x-mine: 1",
            b"X-Request-Id: r",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"x-one:c",
            b"Empty:",
            b"Proxy-Connection: close",
            b"Content-Length: 0",
        )
    )
    assert isinstance(head, RequestHead)
    assert head.headers == [
        (b"x-one", b"a b"),
        (b"x-request-id", b"r"),
        (b"x-one", b"c"),
        (b"empty", b""),
        (b"content-length", b"0"),
    ]
    assert server.complete
    assert server.content_length == 0
    assert server.keep_alive


@pytest.mark.parametrize(
    ("lines", "version", "keep_alive"),
    [
        ((), b"1.1", True),
        ((b"Connection: close",), b"1.1", False),
        ((b"Connection: Keep-Alive", b"connection: CLOSE"), b"1.1", False),
        ((), b"1.0", False),
        ((b"Connection: keep-alive",), b"1.0", True),
    ],
)
def test_the_connection_lives_on_as_the_client_says(lines: tuple[bytes, ...], version: bytes, keep_alive: bool) -> None:
    server = Http1Server()
    server.receive_data(request(*lines, start=b"GET / HTTP/" + version))
    assert server.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("lines", "version", "upgrade"),
    [
        ((b"Connection: Upgrade", b"Upgrade: WebSocket"), b"1.1", b"websocket"),
        ((b"Upgrade: websocket",), b"1.1", b""),
        ((b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: x"), b"1.1", b""),
        ((b"Connection: upgrade", b"Upgrade: websocket, h2c"), b"1.1", b""),
        ((b"Connection: upgrade", b"Upgrade: websocket"), b"1.0", b""),
    ],
)
def test_an_upgrade_counts_only_where_it_is_asked_for_properly(
    lines: tuple[bytes, ...], version: bytes, upgrade: bytes
) -> None:
    server = Http1Server()
    head = server.receive_data(request(*lines, start=b"GET / HTTP/" + version))
    assert isinstance(head, RequestHead)
    assert server.upgrade == upgrade
    assert head.headers == []


def test_pipelined_requests_wait_for_their_turn() -> None:
    server = Http1Server()
    first = server.receive_data(request(start=b"GET /1 HTTP/1.1") + request(start=b"GET /2 HTTP/1.1"))
    assert isinstance(first, RequestHead)
    assert server.complete
    assert server.next_event() is PAUSED
    assert server.receive_data(request(b"Content-Length: 2", start=b"GET /3 HTTP/1.1", body=b"ab")) is PAUSED
    server.start_next()
    second = server.next_event()
    assert isinstance(second, RequestHead)
    server.start_next()
    third = server.next_event()
    assert isinstance(third, RequestHead)
    assert [first.path, second.path, third.path] == ["/1", "/2", "/3"]
    assert not server.complete
    assert server.next_event() == b"ab"
    assert server.complete
    assert server.next_event() is END
    server.start_next()
    assert server.next_event() is NEED_DATA


def test_a_chunked_body_gives_its_bytes_and_trailers() -> None:
    server = Http1Server()
    wire = b'4\r\nwiki\r\nA;a=b;c="d;\\"e"\r\n0123456789\r\n000\r\nX-Sum: 1\r\n\r\nrest'
    server.receive_data(request(b"Transfer-Encoding: Chunked"))
    assert server.chunked
    assert server.receive_data(wire) == b"wiki0123456789"
    assert server.next_event() == EndOfMessage([(b"x-sum", b"1")])
    assert server.trailers == [(b"x-sum", b"1")]
    assert server.next_event() is PAUSED
    assert server.take_rest() == b"rest"


BAD_CHUNKS = [
    b"5\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"1_0\r\n",
    b"\r\n",
    b"FFFFFFFFFFFFFFFF0\r\n",
    b"5;\r\nhello\r\n",
    b"5;bad[=x\r\nhello\r\n",
    b"5;a= b\r\nhello\r\n",
    b"5;a=\x00\r\nhello\r\n",
    b"5;a\nhello\r\n",
    b"5\r\nhello0\r\n",
    b"5\r\nhello\n0\r\n",
    b"5\r\nhello\r0\r\n",
    b"5;" + b"a" * 1100 + b"\r\n",
    (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20,
    b"0\r\nX : a\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nX: a\nY: b\r\n\r\n",
    b"0\r\n\n",
    b"0\r\nX: a\n",
    b"0\r\n" + b"X: a\r\n" * 60 + b"\r\n",
    b"0\r\nX: " + b"a" * 9000,
]


@pytest.mark.parametrize("wire", BAD_CHUNKS)
def test_a_bad_chunked_body_is_refused(wire: bytes) -> None:
    server = Http1Server()
    server.receive_data(request(b"Transfer-Encoding: chunked"))
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        event = server.receive_data(wire)
        while isinstance(event, bytes):
            event = server.next_event()
    assert caught.value.reason in {Reason.CHUNK, Reason.TRAILER}


def test_a_request_cut_short_is_an_error_and_one_that_never_began_is_not() -> None:
    Http1Server().receive_eof()
    for wire in (
        b"GET / HT",
        request(b"Content-Length: 5", body=b"hell"),
        request(b"Transfer-Encoding: chunked", body=b"0\r\n"),
    ):
        server = Http1Server()
        server.receive_data(wire)
        while isinstance(server.next_event(), bytes):
            pass
        with pytest.raises(ProtocolError) as caught:
            server.receive_eof()
        assert caught.value.reason is Reason.TRUNCATED


def test_nothing_after_connect_is_read_before_the_tunnel_starts() -> None:
    server = Http1Server()
    server.receive_data(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nGET / HTTP/1.1\r\n")
    assert server.next_event() is PAUSED
    assert not server.keep_alive
    assert server.start_tunnel(200, []) == b"HTTP/1.1 200 OK\r\n\r\n"
    assert server.next_event() == b"GET / HTTP/1.1\r\n"
    assert server.receive_data(b"\x00\r\n\r\n") == b"\x00\r\n\r\n"


def test_limits_are_the_listeners() -> None:
    server = Http1Server(limits=Limits(max_head_bytes=100, max_headers=2))
    assert isinstance(server.receive_data(request(b"a: 1")), RequestHead)
    for wire in (request(b"a: 1", b"b: 1"), request(b"a: " + b"1" * 100)):
        with pytest.raises(ProtocolError) as caught:
            Http1Server(limits=Limits(max_head_bytes=100, max_headers=2)).receive_data(wire)
        assert caught.value.status == 431
