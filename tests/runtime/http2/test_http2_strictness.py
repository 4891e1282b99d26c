"""What a client may not do on HTTP/2, as tables of raw frames: what ends the connection, what ends the stream, what is answered."""

from __future__ import annotations

import struct

import pytest

from policies.head import RequestHead
from runtime.http2 import ErrorCode, Http2Client, Http2Server, Limits, ProtocolError
from runtime.http2.blocks import encode_fields
from runtime.http2.events import DataReceived, RequestReceived, StreamReset
from runtime.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    read_header,
    settings,
)

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
WHOLE = END_HEADERS | END_STREAM


def u32(value: int) -> bytes:
    return struct.pack(">L", value)


def request(stream_id: int = 1, extra: list[tuple[bytes, bytes]] | None = None, *, flags: int = WHOLE) -> bytes:
    return frame(HEADERS, flags, stream_id, encode_fields(GET + (extra or [])))


def started(limits: Limits | None = None) -> Http2Server:
    server = Http2Server(limits=limits or Limits())
    server.receive_data(PREFACE + settings({}))
    server.data_to_send()
    return server


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while data:
        high, low, kind, flags, stream_id = read_header(data, 0)
        length = high << 8 | low
        found.append((kind, flags, stream_id, data[9 : 9 + length]))
        data = data[9 + length :]
    return found


CONNECTION_ERRORS = [
    ("data on stream 0", frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("data on an idle stream", frame(DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("headers on stream 0", request(0), ErrorCode.PROTOCOL_ERROR),
    ("headers on an even stream", request(2), ErrorCode.PROTOCOL_ERROR),
    ("a smaller stream than before", request(5) + request(3), ErrorCode.PROTOCOL_ERROR),
    ("padding longer than the frame", frame(HEADERS, WHOLE | PADDED, 1, b"\x09abc"), ErrorCode.PROTOCOL_ERROR),
    ("a stream that depends on itself", frame(HEADERS, WHOLE | PRIORITY_FLAG, 1, u32(1) + b"\x00"), ErrorCode.PROTOCOL_ERROR),
    ("priority that depends on itself", frame(PRIORITY, 0, 1, u32(1) + b"\x00"), ErrorCode.PROTOCOL_ERROR),
    ("priority of 4 bytes", frame(PRIORITY, 0, 1, u32(3)), ErrorCode.FRAME_SIZE_ERROR),
    ("priority on stream 0", frame(PRIORITY, 0, 0, u32(3) + b"\x00"), ErrorCode.PROTOCOL_ERROR),
    ("reset of an idle stream", frame(RST_STREAM, 0, 1, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("reset of stream 0", frame(RST_STREAM, 0, 0, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("reset of 3 bytes", request(flags=END_HEADERS) + frame(RST_STREAM, 0, 1, b"\0\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    ("settings on a stream", frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("settings ack with payload", frame(SETTINGS, ACK, 0, b"\0" * 6), ErrorCode.FRAME_SIZE_ERROR),
    ("settings of 5 bytes", frame(SETTINGS, 0, 0, b"\0" * 5), ErrorCode.FRAME_SIZE_ERROR),
    ("enable push 2", settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
    ("window over the maximum", settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    ("frame size under the minimum", settings({5: 16_383}), ErrorCode.PROTOCOL_ERROR),
    ("frame size over the maximum", settings({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
    ("push promise", frame(PUSH_PROMISE, END_HEADERS, 1, u32(2)), ErrorCode.PROTOCOL_ERROR),
    ("ping on a stream", frame(PING, 0, 1, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
    ("ping of 7 bytes", frame(PING, 0, 0, b"\0" * 7), ErrorCode.FRAME_SIZE_ERROR),
    ("goaway on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
    ("window update of 3 bytes", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), ErrorCode.FRAME_SIZE_ERROR),
    ("window update of 0", frame(WINDOW_UPDATE, 0, 0, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("window update on an idle stream", frame(WINDOW_UPDATE, 0, 1, u32(1)), ErrorCode.PROTOCOL_ERROR),
    ("window beyond 2**31-1", frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    ("continuation without headers", frame(CONTINUATION, END_HEADERS, 1, b""), ErrorCode.PROTOCOL_ERROR),
    ("another frame inside a header block", request(flags=0) + frame(PING, 0, 0, b"\0" * 8), ErrorCode.PROTOCOL_ERROR),
    ("another stream's continuation", request(flags=0) + frame(CONTINUATION, END_HEADERS, 3), ErrorCode.PROTOCOL_ERROR),
    ("a frame that is too large", frame(DATA, 0, 1, b"x" * 16_385), ErrorCode.FRAME_SIZE_ERROR),
    ("a bad header block", frame(HEADERS, WHOLE, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    ("a bad index", frame(HEADERS, WHOLE, 1, b"\xff\x20"), ErrorCode.COMPRESSION_ERROR),
    ("a head that is far too large", request(1, [(b"x", b"a" * 16_000)], flags=END_STREAM)
        + frame(CONTINUATION, 0, 1, b"a" * 10_000) + frame(CONTINUATION, 0, 1, b"a" * 10_000), ErrorCode.ENHANCE_YOUR_CALM),
    ("endless continuations", request(flags=0) + frame(CONTINUATION, 0, 1) * 20, ErrorCode.ENHANCE_YOUR_CALM),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "code"), [pytest.param(*case[1:], id=case[0]) for case in CONNECTION_ERRORS])
def test_a_broken_connection_ends_with_the_right_code(wire: bytes, code: ErrorCode) -> None:
    server = started()
    with pytest.raises(ProtocolError) as caught:
        server.receive_data(wire)
    assert caught.value.code is code
    kind, _, stream_id, payload = frames_of(server.data_to_send())[-1]
    assert (kind, stream_id, payload[4:]) == (GOAWAY, 0, u32(code))
    assert server.receive_data(request(7)) == []


def test_frames_on_a_closed_stream_end_the_connection() -> None:
    for wire in (frame(DATA, 0, 1, b"x"), request(1)):
        server = started()
        server.receive_data(request(1))
        server.send_head(1, 200, [], content_length=0, end=True)
        with pytest.raises(ProtocolError) as caught:
            server.receive_data(wire)
        assert caught.value.code is ErrorCode.STREAM_CLOSED


def test_late_frames_on_a_stream_that_we_reset_are_ignored_but_counted_in_the_window() -> None:
    server = started()
    server.receive_data(request(1, flags=END_HEADERS))
    server.reset(1)
    server.data_to_send()
    late = frame(DATA, 0, 1, b"x" * 16_384) * 40
    assert server.receive_data(late + frame(WINDOW_UPDATE, 0, 1, u32(5)) + frame(RST_STREAM, 0, 1, u32(8))) == []
    updates = [
        struct.unpack(">L", payload)[0]
        for kind, _, stream, payload in frames_of(server.data_to_send())
        if kind == WINDOW_UPDATE and not stream
    ]
    assert sum(updates) >= 524_288


NAME = b"x" * 300
MALFORMED = [
    ("an upper-case name", [*GET, (b"X-A", b"1")], 0),
    ("a space in a name", [*GET, (b"x a", b"1")], 0),
    ("an empty name", [*GET, (b"", b"1")], 0),
    ("a line feed in a value", [*GET, (b"x", b"a\nb")], 0),
    ("a carriage return in a value", [*GET, (b"x", b"a\rb")], 0),
    ("a zero byte in a value", [*GET, (b"x", b"a\x00b")], 0),
    ("white space around a value", [*GET, (b"x", b" a")], 0),
    ("white space after a value", [*GET, (b"x", b"a\t")], 0),
    ("connection", [*GET, (b"connection", b"close")], 0),
    ("transfer-encoding", [*GET, (b"transfer-encoding", b"chunked")], 0),
    ("te other than trailers", [*GET, (b"te", b"trailers"), (b"te", b"gzip")], 0),
    ("an unknown pseudo-header", [*GET, (b":foo", b"1")], 0),
    ("a response's pseudo-header", [*GET, (b":status", b"200")], 0),
    ("a pseudo-header after a field", [*GET[:3], (b"x", b"1"), GET[3]], 0),
    ("two methods", [GET[0], *GET], 0),
    ("no method", GET[1:], 0),
    ("no scheme", [GET[0], *GET[2:]], 0),
    ("no path", GET[:3], 0),
    ("an empty path", [*GET[:3], (b":path", b"")], 0),
    ("a space in the path", [*GET[:3], (b":path", b"/a b")], 0),
    ("a fragment", [*GET[:3], (b":path", b"/a#b")], 0),
    ("a relative path", [*GET[:3], (b":path", b"a")], 0),
    ("a method that is no token", [(b":method", b"GE T"), *GET[1:]], 0),
    ("a scheme of another kind", [GET[0], (b":scheme", b"ftp"), *GET[2:]], 0),
    ("host that differs", [*GET, (b"host", b"b")], 0),
    ("two lengths", [*GET, (b"content-length", b"1"), (b"content-length", b"1")], 0),
    ("a length that is no number", [*GET, (b"content-length", b"+1")], 0),
    ("a length and no body", [*GET, (b"content-length", b"1")], 0),
    ("extended connect, not offered", [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]], 0),
    ("connect with a path", [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")], 0),
    ("connect without a port", [(b":method", b"CONNECT"), (b":authority", b"a")], 0),
    ("a name of 300 bytes", [*GET, (NAME, b"1")], 0),
    ("user information", [*GET[:2], (b":authority", b"u@a"), GET[3]], 400),
    ("no authority at all", [*GET[:2], GET[3]], 400),
    ("an escaped zero in the path", [*GET[:3], (b":path", b"/a%00")], 400),
    ("too many fields", [*GET, *[(b"x", b"1")] * 101], 431),
    ("too many cookie crumbs", [*GET, *[(b"cookie", b"a")] * 101], 431),
]


@pytest.mark.parametrize(("fields", "status"), [pytest.param(*case[1:], id=case[0]) for case in MALFORMED])
def test_a_malformed_request_never_becomes_an_event(fields: list[tuple[bytes, bytes]], status: int) -> None:
    server = started()
    events = server.receive_data(frame(HEADERS, WHOLE, 1, encode_fields(fields)) + request(3))
    assert [event.stream_id for event in events if isinstance(event, RequestReceived)] == [3]
    said = frames_of(server.data_to_send())
    if status:
        block = encode_fields([(b":status", b"%d" % status)])
        assert [payload[1 : 1 + len(block)] for kind, _, _, payload in said if kind == HEADERS] == [block]
    else:
        assert [(kind, stream, payload) for kind, _, stream, payload in said] == [(RST_STREAM, 1, u32(1))]
    assert server.open_streams == 1


BODIES = [
    ("more than its length", frame(DATA, END_STREAM, 1, b"abcd"), ErrorCode.PROTOCOL_ERROR),
    ("less than its length", frame(DATA, END_STREAM, 1, b"ab"), ErrorCode.PROTOCOL_ERROR),
    (
        "less before trailers",
        frame(DATA, 0, 1, b"ab") + frame(HEADERS, WHOLE, 1, encode_fields([(b"t", b"1")])),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "trailers that do not end the stream",
        frame(HEADERS, END_HEADERS, 1, encode_fields([(b"t", b"1")])),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "a pseudo-header in trailers",
        frame(HEADERS, WHOLE, 1, encode_fields([(b":path", b"/")])),
        ErrorCode.PROTOCOL_ERROR,
    ),
    (
        "framing in trailers",
        frame(DATA, 0, 1, b"abc") + frame(HEADERS, WHOLE, 1, encode_fields([(b"content-length", b"1")])),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("a window update of 0", frame(WINDOW_UPDATE, 0, 1, u32(0)), ErrorCode.PROTOCOL_ERROR),
    ("a window over its maximum", frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    ("data after the end", frame(DATA, END_STREAM, 1, b"abc") + frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    (
        "trailers after the end",
        frame(DATA, END_STREAM, 1, b"abc") + frame(HEADERS, WHOLE, 1, b""),
        ErrorCode.STREAM_CLOSED,
    ),
]


@pytest.mark.parametrize(("wire", "code"), [pytest.param(*case[1:], id=case[0]) for case in BODIES])
def test_a_broken_stream_is_reset_and_the_others_go_on(wire: bytes, code: ErrorCode) -> None:
    server = started()
    events = server.receive_data(request(1, [(b"content-length", b"3")], flags=END_HEADERS) + wire + request(3))
    assert [event.code for event in events if isinstance(event, StreamReset)] == [code]
    assert [event.stream_id for event in events if isinstance(event, RequestReceived)] == [1, 3]
    assert (RST_STREAM, 0, 1, u32(code)) in frames_of(server.data_to_send())
    assert server.open_streams == 1


def test_more_than_the_stream_window_resets_the_stream_and_more_than_the_connections_ends_it() -> None:
    server = started(Limits(stream_window_bytes=65_535, connection_window_bytes=100_000))
    full = frame(DATA, 0, 1, b"x" * 16_384) * 4
    events = server.receive_data(request(1, flags=END_HEADERS) + full)
    assert [event.code for event in events if isinstance(event, StreamReset)] == [ErrorCode.FLOW_CONTROL_ERROR]
    with pytest.raises(ProtocolError) as caught:
        server.receive_data(
            request(3, flags=END_HEADERS)
            + request(5, flags=END_HEADERS)
            + frame(DATA, 0, 3, b"x" * 16_384) * 3
            + frame(DATA, 0, 5, b"x" * 16_384) * 3
        )
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_streams_beyond_the_limit_are_refused_and_may_be_retried() -> None:
    server = started(Limits(max_streams=2))
    events = server.receive_data(request(1) + request(3) + request(5))
    assert [event.stream_id for event in events if isinstance(event, RequestReceived)] == [1, 3]
    assert frames_of(server.data_to_send()) == [(RST_STREAM, 0, 5, u32(ErrorCode.REFUSED_STREAM))]


FLOODS = [
    ("ping", frame(PING, 0, 0, b"\0" * 8)),
    ("settings", settings({})),
    ("priority", frame(PRIORITY, 0, 1, u32(3) + b"\x00")),
    ("empty data", frame(DATA, 0, 9, b"")),
    ("unknown frames", frame(0x20, 0, 0)),
    ("window updates", frame(WINDOW_UPDATE, 0, 0, u32(1))),
]


@pytest.mark.parametrize("wire", [pytest.param(case[1], id=case[0]) for case in FLOODS])
def test_a_flood_of_frames_that_carry_nothing_is_calmed(wire: bytes) -> None:
    server = started()
    server.receive_data(request(9, flags=END_HEADERS))
    with pytest.raises(ProtocolError) as caught:
        server.receive_data(wire * 5000)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_keep_alive_ping_every_ten_seconds_is_no_flood() -> None:
    server = started()
    for second in range(0, 100_000, 10):
        server.receive_data(frame(PING, 0, 0, b"\0" * 8), float(second))
    assert not server.failed


@pytest.mark.parametrize(
    "abuse",
    [
        lambda stream: request(stream) + frame(RST_STREAM, 0, stream, u32(8)),
        lambda stream: request(stream) + frame(WINDOW_UPDATE, 0, stream, u32(0)),
        lambda stream: frame(HEADERS, WHOLE, stream, encode_fields([*GET, (b"X", b"1")])),
    ],
    ids=["rapid reset", "made you reset", "malformed"],
)
def test_a_flood_of_resets_is_calmed(abuse: object) -> None:
    server = started()
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012
        for stream in range(1, 1001, 2):
            server.receive_data(abuse(stream))  # type: ignore[operator]
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_client_that_cancels_now_and_then_is_left_alone() -> None:
    server = started()
    for stream in range(1, 4001, 4):
        server.receive_data(request(stream) + request(stream + 2) + frame(RST_STREAM, 0, stream, u32(8)))
        server.send_head(stream + 2, 200, [], content_length=0, end=True)
    assert not server.failed


def test_padding_counts_in_the_windows_and_not_in_the_body() -> None:
    server = started()
    server.receive_data(request(1, [(b"content-length", b"2")], flags=END_HEADERS))
    (event,) = server.receive_data(frame(DATA, END_STREAM | PADDED, 1, b"\x03ab\0\0\0"))
    assert event == DataReceived(1, b"ab", 6, ended=True)


@pytest.mark.parametrize(
    "wire",
    [b"GET / HTTP/1.1\r\n\r\n", PREFACE + frame(PING, 0, 0, b"\0" * 8), PREFACE + frame(SETTINGS, ACK, 0)],
)
def test_a_connection_begins_with_preface_and_settings(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        Http2Server().receive_data(wire)


def test_any_chunking_of_the_input_gives_the_same_events() -> None:
    wire = PREFACE + settings({4: 1000}) + request(1, [(b"content-length", b"3")], flags=0)
    wire += frame(CONTINUATION, END_HEADERS, 1, encode_fields([(b"x", b"1")])) + frame(DATA, END_STREAM, 1, b"abc")
    wire += frame(PING, 0, 0, b"12345678") + request(3)
    whole = Http2Server()
    expected = whole.receive_data(wire)
    assert len(expected) == 4
    for step in (1, 2, 7, 9, 10, 30):
        server = Http2Server()
        events = [event for at in range(0, len(wire), step) for event in server.receive_data(wire[at : at + step])]
        assert events == expected


def test_an_upstream_is_not_trusted_either() -> None:
    def asked() -> tuple[Http2Client, int]:
        client = Http2Client()
        client.receive_data(settings({}))
        return client, client.send_head(RequestHead("GET", "http", "a", "a", "/", None, []), [], end=True)

    for fields in (
        [(b":status", b"20")],
        [(b":status", b"101")],
        [(b"x", b"1")],
        [(b":status", b"200"), (b"connection", b"x")],
    ):
        client, stream = asked()
        events = client.receive_data(frame(HEADERS, WHOLE, stream, encode_fields(fields)))
        assert [type(event) for event in events] == [StreamReset]
    client, stream = asked()
    head = frame(HEADERS, END_HEADERS, stream, encode_fields([(b":status", b"200"), (b"content-length", b"5")]))
    events = client.receive_data(head + frame(DATA, END_STREAM, stream, b"hell"))
    assert isinstance(events[-1], StreamReset)
    for wire in (
        settings({2: 1}),
        frame(HEADERS, WHOLE, 2, b"\x88"),
        frame(PUSH_PROMISE, 4, 1, u32(2)),
        frame(DATA, 0, 7, b""),
    ):
        client, _ = asked()
        with pytest.raises(ProtocolError):
            client.receive_data(wire)
