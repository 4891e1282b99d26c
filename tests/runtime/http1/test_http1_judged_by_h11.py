"""h11 as the judge: what ours accepts h11 reads identically, and any chunking of the input gives the same events.

What h11 accepts and ours refuses, with reasons:

| kind | why ours refuses |
|---|---|
| Content-Length and Transfer-Encoding together | whoever reads the other one is smuggled to |
| bare LF as line end, folded lines | the next hop may read them otherwise |
| Host with user information, path, comma, empty host or bad port | it chooses the route and the policy |
| targets that are not one of the four forms, or with a fragment | their path means different things to different hops |
| absolute-form whose authority is not the Host | two authorities |
| chunk extensions with white space or without a name, chunk sizes over 15 digits | not in the grammar; used to hide chunks |
| framing, routing or authentication fields as trailers | they would change the message after the fact |
| HTTP/1.x with x over 1, HTTP/1.0 without Host | nobody sends them in good faith; no authority, no route |
| more than 100 fields, %00 in the path | bounds and policy |
"""

from __future__ import annotations

import itertools

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.head import RequestHead, ResponseHead
from runtime.http1 import NEED_DATA, PAUSED, EndOfMessage, Http1Client, Http1Server, ProtocolError

token = st.text("abcXYZ-_.!019", min_size=1, max_size=8)
value = st.text("ab ,;=\"'\t\x80\xff/:", max_size=12)
field = st.tuples(st.sampled_from(["X-A", "accept", "Cookie", "x-b"]) | token, value)
odd_line = st.sampled_from(
    [
        "Content-Length: 3",
        "Content-Length: 03",
        "Content-Length: +3",
        "content-length: 3, 3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Host: b",
        "Connection: close",
        "Connection: x-a, keep-alive",
        "Expect: 100-continue",
        " folded",
        "no colon",
        "X:\x00",
    ]
)
body = st.sampled_from(
    [
        "",
        "abc",
        "abcd",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        "3\nabc\n0\n\n",
        "3 \r\nabc\r\n0\r\n\r\n",
    ]
)
target = st.sampled_from(["/", "/a/b?c=d", "/%41", "http://h/x", "*", "/a b", "h:1", "/x#y"])

FRAMED = [
    ([], ""),
    (["Content-Length: 3"], "abc"),
    (["Content-Length: 003", "Expect: 100-continue"], "abcGET"),
    (["Transfer-Encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n"),
    (["TRANSFER-ENCODING:\tChunked "], "03;a=b;c\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\nGET"),
]


@st.composite
def request(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "POST", "OPTIONS", "CONNECT", "HEAD", "G@T"]))
    lines = [f"{method} {draw(target)} HTTP/{draw(st.sampled_from(['1.1', '1.1', '1.1', '1.0']))}", "Host: h"]
    lines += [f"{name}:{text}" for name, text in draw(st.lists(field, max_size=4))]
    framing, framed = draw(st.sampled_from(FRAMED))
    lines += framing
    if draw(st.booleans()):
        lines += draw(st.lists(odd_line, max_size=2))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]))
    return (end.join(lines) + "\r\n\r\n" + (framed or draw(body))).encode("latin-1")


def ours(pieces: list[bytes]) -> tuple[RequestHead, bytes, list[tuple[bytes, bytes]], bool] | None:
    """Head, body, trailers and completeness of the first request, or None where it was refused."""
    server = Http1Server()
    head: RequestHead | None = None
    data, trailers = b"", []
    try:
        for piece in pieces:
            event = server.receive_data(piece)
            while event is not NEED_DATA and event is not PAUSED:
                if isinstance(event, RequestHead):
                    head = event
                elif isinstance(event, EndOfMessage):
                    trailers = event.trailers
                elif isinstance(event, bytes):
                    data += event
                event = server.next_event()
    except ProtocolError:
        return None
    return (head, data, trailers, server.complete) if head is not None else None


def theirs(wire: bytes) -> tuple[h11.Request, bytes, list[tuple[bytes, bytes]], bool]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    head, data, trailers = connection.next_event(), b"", []
    assert isinstance(head, h11.Request)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            data += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            trailers = list(event.headers)
            return head, data, trailers, True
        else:
            return head, data, trailers, False


@settings(max_examples=300, deadline=None)
@given(request())
def test_what_we_accept_h11_reads_identically(wire: bytes) -> None:
    read = ours([wire])
    if read is None:
        return
    head, data, trailers, complete = read
    judged, judged_data, judged_trailers, judged_complete = theirs(wire)
    assert head.method.encode() == judged.method
    assert (data, trailers, complete) == (judged_data, judged_trailers, judged_complete)
    hidden = {b"host", b"connection", b"transfer-encoding", b"te", b"upgrade", b"keep-alive", b"expect"}
    nominated = {
        part.strip().lower() for name, text in judged.headers if name == b"connection" for part in text.split(b",")
    }
    expected = [(bytes(name), bytes(text)) for name, text in judged.headers if name not in hidden | nominated]
    assert head.headers == expected


@settings(max_examples=200, deadline=None)
@given(request(), st.lists(st.integers(0, 400), max_size=6))
def test_any_chunking_of_a_request_gives_the_same_events(wire: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges) if end > start]
    assert ours(pieces) == ours([wire])


responses = st.builds(
    lambda status, lines, content: (
        f"HTTP/1.1 {status} R\r\n" + "".join(f"{line}\r\n" for line in lines) + f"\r\n{content}"
    ).encode(),
    st.sampled_from([200, 204, 304, 404, 103]),
    st.lists(odd_line.filter(lambda line: "Host" not in line and "Expect" not in line) | st.just("X-A: b"), max_size=3),
    body,
)


def read_response(pieces: list[bytes]) -> tuple[list[ResponseHead], bytes, bool] | None:
    client = Http1Client()
    client.send_head(RequestHead("GET", "http", "h", "h", "/", None, []), [])
    heads, data = [], b""
    try:
        for piece in pieces:
            event = client.receive_data(piece)
            while event is not NEED_DATA and event is not PAUSED:
                if isinstance(event, ResponseHead):
                    heads.append(event)
                elif isinstance(event, bytes):
                    data += event
                event = client.next_event()
    except ProtocolError:
        return None
    return heads, data, client.complete


@settings(max_examples=200, deadline=None)
@given(responses)
def test_what_we_accept_from_an_upstream_h11_reads_identically(wire: bytes) -> None:
    read = read_response([wire])
    if read is None or not read[0]:
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(wire)
    statuses, data = [], b""
    while not isinstance(event := connection.next_event(), type(h11.NEED_DATA)) and not isinstance(
        event, h11.EndOfMessage
    ):
        if isinstance(event, h11.Data):
            data += bytes(event.data)
        else:
            statuses.append(event.status_code)
    heads, ours_data, complete = read
    assert [head.status for head in heads] == statuses
    assert ours_data == data
    assert complete == isinstance(event, h11.EndOfMessage)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.lists(
        st.tuples(st.sampled_from([b"x-a", b"accept", b"cookie"]), st.sampled_from([b"", b"a b", b"\xff"])), max_size=4
    ),
    st.none() | st.binary(max_size=50),
    st.booleans(),
)
def test_what_the_client_writes_the_server_reads_back(
    method: str, headers: list[tuple[bytes, bytes]], content: bytes | None, chunked: bool
) -> None:
    client = Http1Client()
    head = RequestHead(method, "http", "H.test:81", "h.test", "/p", "q=1", headers)
    if content is None:
        wire = client.send_head(head, headers)
    elif chunked:
        wire = (
            client.send_head(head, headers, chunked=True) + client.send_data(content) + client.send_end([(b"t", b"1")])
        )
    else:
        wire = (
            client.send_head(head, headers, content_length=len(content)) + client.send_data(content) + client.send_end()
        )
    read = ours([wire])
    assert read is not None
    back, data, trailers, complete = read
    assert complete
    assert data == (content or b"")
    assert trailers == ([(b"t", b"1")] if chunked and content is not None else [])
    kept = [pair for pair in back.headers if pair[0] != b"content-length"]
    assert (back.method, back.authority, back.path, back.query, kept) == (method, "H.test:81", "/p", "q=1", headers)
