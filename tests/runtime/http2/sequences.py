"""Sequences of frames that a peer might send, drawn at random: mostly as RFC 9113 has them, with something odd now and then."""

from __future__ import annotations

import random
import struct

from policies.head import Headers
from runtime.http2 import frames
from tests.runtime.http2.scripts import GET, Script, Step

PADDING = (None, None, None, 0, 5, 200)
PRIORITY = (None, None, None, (0, 5), (3, 255), (1 << 31 | 1, 0))
MORE_FIELDS: tuple[Headers, ...] = (
    [],
    [(b"x-a", b"1")],
    [(b"cookie", b"a=1"), (b"cookie", b"b")],
    [(b"content-length", b"5")],
    [(b"te", b"trailers")],
    [(b"x-long", b"v" * 2_500)],
)
ODD_FIELDS: tuple[Headers, ...] = (
    [(b"Upper", b"1")],
    [(b"connection", b"x")],
    [(b"transfer-encoding", b"chunked")],
    [(b"te", b"gzip")],
    [(b":late", b"1")],
    [(b"x", b"a\nb")],
    [(b"x", b" a")],
    [(b"", b"a")],
    [(b"host", b"other")],
    [(b"host", b"a.test")],
    [(b"content-length", b"5"), (b"content-length", b"6")],
    [(b"content-length", b"x")],
)
ODD_REQUESTS: tuple[Headers, ...] = (
    GET[1:],
    GET[:3],
    GET[:2] + GET[3:],
    GET[:1] + GET,
    [(b":method", b"CONNECT"), (b":authority", b"a:1")],
    [(b":status", b"200")],
)
RESPONSES: tuple[Headers, ...] = (
    [(b":status", b"200")],
    [(b":status", b"200"), (b"content-length", b"5")],
    [(b":status", b"200"), (b"set-cookie", b"a"), (b"set-cookie", b"b")],
)
ODD_RESPONSES: tuple[Headers, ...] = (
    [(b":status", b"103"), (b"link", b"x")],
    [(b"x-t", b"1")],
    [(b":status", b"204")],
    [(b":status", b"abc")],
    [(b":status", b"101")],
)
TRAILERS: tuple[Headers, ...] = ([(b"x-t", b"1")], [(b":path", b"/")], [(b"content-length", b"1")])
SETTINGS: tuple[dict[int, int], ...] = (
    {},
    {4: 0},
    {4: 2**31 - 1},
    {4: 2**31},
    {5: 16_383},
    {5: 2**24},
    {2: 2},
    {2: 0},
    {8: 1},
    {8: 2},
    {99: 5},
    {1: 0},
    {1: 10_000},
    {6: 100},
)
USUAL: tuple[str, ...] = (
    ("stream",) * 6 + ("data",) * 6 + ("trailers", "rst", "window", "settings", "ping", "priority", "unknown")
)
USUAL += ("answer", "answer", "reset")


class Peer:
    """Draws a script for one side: ``client`` says that the near side is the client, so that the peer answers."""

    def __init__(self, draws: random.Random, *, client: bool) -> None:
        self.draws = draws
        self.client = client
        self.script = Script()
        self.opened: list[int] = []
        self.next = 1

    def write(self) -> list[Step]:
        """The steps."""
        if not self.client:
            self.script.send(frames.PREFACE)
        self.script.send(frames.settings(self.draws.choice(({}, {4: 100_000}, {3: 10, 4: 0}, {5: 20_000}))))
        for _ in range(self.draws.randint(1, 12)):
            kind = self.draws.choice(USUAL) if self.draws.random() < 0.95 else self.draws.choice(("broken", "goaway"))
            getattr(self, f"_{kind}")(self._some_stream())
        return self.script.steps

    def _some_stream(self) -> int:
        if self.opened and self.draws.random() < 0.97:
            return self.draws.choice(self.opened[-3:])
        return self.draws.choice((self.next, self.next + 2, 0, 2, max(1, self.next - 2)))

    def _stream(self, other: int) -> None:
        if self.client:
            self.script.act("ask", self.next)
        else:
            headers = GET + self.draws.choice(MORE_FIELDS)
            if self.draws.random() < 0.06:
                headers = headers + self.draws.choice(ODD_FIELDS)
            if self.draws.random() < 0.05:
                headers = self.draws.choice(ODD_REQUESTS)
            self._headers(self.next if self.draws.random() < 0.97 else other, headers, end=self.draws.random() < 0.4)
        self.opened.append(self.next)
        self.next += 2

    def _headers(self, stream: int, headers: Headers, *, end: bool) -> None:
        self.script.headers(
            stream,
            headers,
            end=end,
            parts=self.draws.choice((1, 1, 1, 2, 4)),
            padding=self.draws.choice(PADDING),
            priority=self.draws.choice(PRIORITY),
            huffman=self.draws.random() < 0.5,
        )

    def _data(self, stream: int) -> None:
        size = self.draws.randint(0, 9) if self.draws.random() < 0.8 else self.draws.randint(0, 3_000)
        end = self.draws.random() < 0.3
        self.script.data(stream, self.draws.randbytes(size), end=end, padding=self.draws.choice(PADDING))

    def _trailers(self, stream: int) -> None:
        headers = self.draws.choice(ODD_RESPONSES + TRAILERS if self.client else TRAILERS)
        self.script.headers(stream, headers, end=self.draws.random() < 0.7, padding=self.draws.choice(PADDING))

    def _rst(self, stream: int) -> None:
        self.script.send(frames.rst_stream(stream, self.draws.choice((0, 8, 2, 99))))

    def _window(self, stream: int) -> None:
        increment = self.draws.choice((1, 1, 1, 1, 1, 1_000, 0, 2**31 - 1))
        self.script.send(frames.window_update(self.draws.choice((0, stream, stream)), increment))

    def _settings(self, _stream: int) -> None:
        self.script.send(frames.settings(self.draws.choice(SETTINGS)))

    def _ping(self, _stream: int) -> None:
        self.script.send(frames.frame(frames.PING, self.draws.choice((0, 0, 1)), 0, self.draws.randbytes(8)))

    def _priority(self, stream: int) -> None:
        depends = self.draws.choice((0, 1, 5, stream))
        self.script.send(frames.frame(frames.PRIORITY, 0, stream, struct.pack(">LB", depends, 3)))

    def _goaway(self, _stream: int) -> None:
        self.script.send(frames.goaway(self.draws.choice((0, 1, 99)), self.draws.choice((0, 2))))

    def _unknown(self, stream: int) -> None:
        kind = self.draws.choice((11, 12, 16, 77))
        payload = self.draws.randbytes(self.draws.randint(0, 9))
        self.script.send(frames.frame(kind, self.draws.randint(0, 255), stream, payload))

    def _answer(self, stream: int) -> None:
        if self.client:
            self._headers(stream, self.draws.choice(RESPONSES), end=self.draws.random() < 0.3)
        else:
            self.script.act("answer", stream)

    def _reset(self, stream: int) -> None:
        self.script.act("reset", stream)

    def _broken(self, stream: int) -> None:
        kind, flags, number, payload = self.draws.choice(
            (
                (frames.PING, 0, 0, b"123"),
                (frames.PING, 0, stream, b"12345678"),
                (frames.RST_STREAM, 0, stream, b"123"),
                (frames.WINDOW_UPDATE, 0, stream, b"123"),
                (frames.SETTINGS, 0, 0, b"123"),
                (frames.SETTINGS, 1, 0, b"123456"),
                (frames.SETTINGS, 0, 1, b""),
                (frames.PRIORITY, 0, stream, b"1234"),
                (frames.CONTINUATION, 4, stream, b""),
                (frames.DATA, 8, stream, b"\x05123"),
                (frames.DATA, 8, stream, b""),
                (frames.HEADERS, 12, stream, b"\xff"),
                (frames.HEADERS, 4, stream, b"\xff\xff\xff\xff\xff\xff\xff"),
                (frames.HEADERS, 4, stream, b"\x80"),
                (frames.PUSH_PROMISE, 4, stream, b"\0\0\0\2\x82"),
                (frames.GOAWAY, 0, 0, b"1234"),
                (frames.HEADERS, 0, stream, b"\x82"),
                (frames.DATA, 0, stream, bytes(16_385)),
            )
        )
        self.script.send(frames.frame(kind, flags, number, payload))
