"""The downstream side of HTTP/1: requests in, replies out, strictly one after the other.

States: IDLE (before a head), BODY (inside a request's body), DONE (request read to its end; later bytes wait), TUNNEL (after 101 or a
2xx to CONNECT: bytes pass unread), FAILED (after a ProtocolError: nothing is read any more). The reply side is independent of the request
side, since a reply may start before the request ends; ``start_next`` joins them again.
"""

from __future__ import annotations

import re
from enum import Enum

from policies.head import Headers, RequestHead
from policies.path import BASE, normalize
from runtime.http1.body import Body, ChunkedBody, LengthBody
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.events import DEFAULT_LIMITS, END, NEED_DATA, PAUSED, EndOfMessage, Limits, RequestEvent, Waiting
from runtime.http1.framing import CONNECTION_FIELDS, read_framing
from runtime.http1.grammar import (
    REQUEST_LINE,
    check_early,
    check_method,
    may_start_request,
    refuse_line,
    split_authority,
    split_fields,
)
from runtime.http1.target import split_absolute, split_connect
from runtime.http1.writer import CHUNKED, CLOSE, KEEP_ALIVE, chunk, field_lines, last_chunk, status_line


class State(Enum):
    """Where the request side stands."""

    IDLE = "idle"
    BODY = "body"
    DONE = "done"
    TUNNEL = "tunnel"
    FAILED = "failed"


_IDLE, _BODY, _DONE, _TUNNEL, _FAILED = State
_SWITCHING, _NO_CONTENT, _NOT_MODIFIED = 101, 204, 304
_BODILESS = frozenset({_NO_CONTENT, _NOT_MODIFIED})
_LINES_KEPT = 4096
_LINE_KEPT = 256
# Request lines that were read before, for each profile: method and normal path. Only what has nothing special about it, and no query, which
# may hold a secret; emptied when full.
_lines_of_profile: dict[str, dict[bytes, tuple[str, str]]] = {}


class Http1Server:
    """One downstream connection. Owns the bytes that were received and not yet handed on, and nothing else.

    After a head these say what follows: ``content_length`` (None: none given), ``chunked``, ``keep_alive`` (what the client allows),
    ``expect_continue``, ``upgrade`` (the protocol asked for, lower-case, or b""), ``http_version``. ``complete`` is true as soon as the request
    has been handed on entirely, so that a caller need not ask for the END event. ``fields`` are the head's headers by name (of repeated
    ones the last), made anyway and given to whoever takes the head.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_checked",
        "_limits",
        "_lines",
        "_path_profile",
        "_plain",
        "_reply_bodiless",
        "_reply_chunked",
        "_scheme",
        "_skipped_line",
        "_state",
        "_to_head",
        "chunked",
        "complete",
        "content_length",
        "expect_continue",
        "fields",
        "http_version",
        "keep_alive",
        "upgrade",
    )

    _split = staticmethod(split_fields)
    """What takes heads apart; a codec that remembers how names were spelled has another."""

    def __init__(self, *, scheme: str = "http", path_profile: str = BASE, limits: Limits = DEFAULT_LIMITS) -> None:
        self._scheme = scheme
        self._path_profile = path_profile
        self._lines = _lines_of_profile.setdefault(path_profile, {})
        self._limits = limits
        self._buffer = b""
        self.fields: dict[bytes, bytes] = {}
        self._reset()

    def _reset(self) -> None:
        self._state = _IDLE
        self._plain = True  # Nothing but state and complete differs from a new connection's: resetting the rest costs as much as a parse.
        self._body: Body | None = None
        self._checked = 0  # How far an unfinished head's lines have been looked at.
        self._skipped_line = False
        self._to_head = False
        self._reply_bodiless = False
        self._reply_chunked = False
        self.complete = False
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.expect_continue = False
        self.upgrade = b""
        self.http_version = "HTTP/1.1"

    # --- requests in ---------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> RequestEvent:
        """Takes bytes from the client and says the first event; ask ``next_event`` for more. Raises ProtocolError.

        A whole head in one piece, the common case, is parsed where it lies. Bytes that come while PAUSED are kept, so a caller
        that gets PAUSED stops reading until ``start_next``.
        """
        if self._buffer:
            self._buffer += data
        elif self._state is _IDLE and (end := data.find(b"\r\n\r\n")) >= 0:
            return self._read_head(data, end + 4)
        else:
            self._buffer = data
        return self.next_event()

    def next_event(self) -> RequestEvent:
        """The next event in the bytes that are there; raises ProtocolError, after which it never says anything else."""
        state = self._state
        if state is _IDLE:
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                return self._read_head(self._buffer, end + 4)
            return self._wait_for_head()
        if state is _BODY:
            return self._read_body()
        if state is _TUNNEL:
            data, self._buffer = self._buffer, b""
            return data or NEED_DATA
        return PAUSED

    @property
    def trailers(self) -> Headers:
        """The request's trailers, once it is complete."""
        return self._body.trailers if self._body is not None else []

    @property
    def state(self) -> State:
        """Where the request side stands."""
        return self._state

    @property
    def buffered(self) -> int:
        """How many received bytes are waiting."""
        return len(self._buffer)

    def start_next(self) -> None:
        """Begins the next request on this connection. Only after this one is complete and its reply has ended with ``keep_alive`` true."""
        assert self.complete, f"start_next while {self._state.value}"
        if self._plain:
            self._state = _IDLE
            self.complete = False
        else:
            self._reset()

    def take_rest(self) -> bytes:
        """Hands over the bytes that wait, for whoever takes the connection over."""
        data, self._buffer = self._buffer, b""
        return data

    def receive_eof(self) -> None:
        """The client has closed its side: an error inside a head or a body, fine elsewhere."""
        if (self._state is _BODY and not self.complete) or (self._state is _IDLE and self._buffer.strip(b"\r\n")):
            raise self._fail(ProtocolError(Reason.TRUNCATED))

    def _fail(self, error: ProtocolError) -> ProtocolError:
        self._state = _FAILED
        self._buffer = b""
        self.keep_alive = False
        return error

    def _skip_empty_line(self) -> bool:
        """Drops one empty line before a request (RFC 9112 section 2.2): some clients send it after a body."""
        if self._skipped_line or self._buffer[:2] != b"\r\n":
            return False
        self._skipped_line = True
        self._plain = False
        self._buffer = self._buffer[2:]
        return True

    def _wait_for_head(self) -> Waiting:
        """Waits, unless what is there cannot become a good head: junk is refused at once and a long head is not collected."""
        self._skip_empty_line()
        data = self._buffer
        line_ended = b"\n" in data
        line = REQUEST_LINE.match(data) if line_ended else None
        if not may_start_request(data) or (line_ended and line is None):
            raise self._fail(refuse_line(data))
        if len(data) > self._limits.max_head_bytes:
            raise self._fail(ProtocolError(Reason.HEAD_TOO_LARGE if line_ended else Reason.TARGET_TOO_LONG))
        if line is not None:
            try:
                check_method(line[1])
                self._checked = check_early(data, max(self._checked, line.end()), self._limits.max_headers)
            except ProtocolError as error:
                self._fail(error)
                raise
            self._plain = False
        return NEED_DATA

    def _read_head(self, data: bytes, end: int) -> RequestEvent:
        start = data.find(b"\r\n") + 2
        known = self._lines.get(data[:start])
        line = None if known is not None else REQUEST_LINE.match(data)
        if known is None and line is None:
            self._buffer = data
            if self._skip_empty_line():
                return self.next_event()
            raise self._fail(refuse_line(data))
        if end > self._limits.max_head_bytes:
            raise self._fail(ProtocolError(Reason.HEAD_TOO_LARGE))
        try:
            if known is not None:
                method, path = known
                authority, host, headers = self._parse_fields(method, True, data, start, end)
                head = RequestHead(method, self._scheme, authority, host, path, None, headers)
            else:
                assert line is not None
                check_method(line[1])
                head = self._parse_head(line, data, start, end)
        except ProtocolError as error:
            self._fail(error)
            raise
        self._buffer = data[end:] if len(data) > end else b""
        return head

    def _parse_head(self, line: re.Match[bytes], data: bytes, start: int, end: int) -> RequestHead:
        authority, host, headers = self._parse_fields(line[1].decode(), line[3] == b"1", data, start, end)
        return self._parse_line(line, authority, host, headers)

    def _parse_fields(self, method: str, http_1_1: bool, data: bytes, start: int, end: int) -> tuple[str, str, Headers]:
        """The authority, its host without port, and the fields to pass on, which are ``data`` from ``start`` to ``end``."""
        headers = self._split(data, start, end - 2, self._limits.max_headers)
        self.fields = fields = dict(headers)
        try:
            raw_host = fields[b"host"]
        except KeyError:
            raise ProtocolError(Reason.HOST) from None
        if len(fields) != len(headers) and len([None for name, _ in headers if name == b"host"]) != 1:
            raise ProtocolError(Reason.HOST)
        del fields[b"host"]
        authority, host = split_authority(raw_host)
        if headers[0][0] == b"host":
            del headers[0]
        else:
            headers.remove((b"host", raw_host))
        if not http_1_1 or not CONNECTION_FIELDS.isdisjoint(fields):
            headers = self._read_connection(headers, fields, method, http_1_1=http_1_1)
            self.fields = dict(headers)
        else:
            self._state = _DONE
            self.complete = True
        return authority, host, headers

    def _parse_line(self, line: re.Match[bytes], authority: str, host: str, headers: Headers) -> RequestHead:
        method = line[1].decode()
        target = line[2].decode()
        if target[0] != "/" or method == "CONNECT":
            return self._parse_other_form(method, target, authority, host, headers)
        path, mark, query = target.partition("?")
        normal = normalize(path, self._path_profile)
        if normal is None:
            raise ProtocolError(Reason.PATH)
        if method == "HEAD":
            self._to_head = True
            self._plain = False
        elif not mark and line[3] == b"1" and line.end() <= _LINE_KEPT:
            if len(self._lines) >= _LINES_KEPT:
                self._lines.clear()
            self._lines[line[0]] = (method, normal)
        return RequestHead(method, self._scheme, authority, host, normal, query if mark else None, headers)

    def _parse_other_form(self, method: str, target: str, authority: str, host: str, headers: Headers) -> RequestHead:
        self._plain = False
        if method == "CONNECT":
            self.keep_alive = False  # Whatever follows a refused CONNECT is not a request (CVE-2025-64763).
            if self._state is not _DONE or self.content_length is not None:
                raise ProtocolError(Reason.BODY_NOT_ALLOWED)
            authority, host = split_connect(target, authority)
            return RequestHead(method, self._scheme, authority, host, "", None, headers)
        if target == "*":
            if method != "OPTIONS":
                raise ProtocolError(Reason.TARGET)
            return RequestHead(method, self._scheme, authority, host, "*", None, headers)
        self._to_head = method == "HEAD"
        scheme, authority, host, path, query = split_absolute(target, authority, self._path_profile)
        return RequestHead(method, scheme, authority, host, path, query, headers)

    def _read_connection(self, headers: Headers, fields: dict[bytes, bytes], method: str, *, http_1_1: bool) -> Headers:
        """The less common head, with fields about the connection or the body."""
        framing = read_framing(headers, fields, http_1_1=http_1_1)
        self._plain = False
        self.http_version = "HTTP/1.1" if http_1_1 else "HTTP/1.0"
        self.content_length = framing.content_length
        self.chunked = framing.chunked
        self.keep_alive = framing.keep_alive
        self.expect_continue = framing.expect_continue
        self.upgrade = framing.upgrade
        if framing.chunked:
            self._body = ChunkedBody()
        elif framing.content_length:
            self._body = LengthBody(framing.content_length)
        if self._body is not None and method == "TRACE":
            raise ProtocolError(Reason.BODY_NOT_ALLOWED)
        self._state = _BODY if self._body is not None else _DONE
        self.complete = self._body is None
        return framing.headers

    def _read_body(self) -> RequestEvent:
        body = self._body
        assert body is not None
        if not self.complete:
            if not self._buffer:
                return NEED_DATA
            try:
                data, self._buffer, self.complete = body.take(self._buffer)
            except ProtocolError as error:
                self._fail(error)
                raise
            if data:
                return data
            if not self.complete:
                return NEED_DATA
        self._state = _DONE
        return EndOfMessage(body.trailers) if body.trailers else END

    # --- replies out ---------------------------------------------------------------------------------------------------------

    def send_head(self, status: int, headers: Headers, *, content_length: int | None) -> bytes:
        """A final reply's head. See ``send_head_lines``."""
        return self.send_head_lines(status, field_lines(headers), content_length=content_length)

    def send_head_lines(self, status: int, lines: bytes, *, content_length: int | None) -> bytes:
        """A final reply's head from prepared lines (``writer.field_lines``).

        ``content_length`` None means a body of unknown length: chunked, or to an HTTP/1.0 client ended by closing, which ``keep_alive`` then
        says. Replies to HEAD and 304 may give the length of the body that they do not have; 204 has neither.
        """
        bodiless = self._to_head or status in _BODILESS
        if content_length is not None:
            framing = b"" if status == _NO_CONTENT else b"content-length: %d\r\n" % content_length
        elif bodiless:
            framing = b""
        elif self.http_version == "HTTP/1.1":
            self._reply_chunked = True
            self._plain = False
            framing = CHUNKED
        else:
            self.keep_alive = False
            framing = b""
        if bodiless:
            self._reply_bodiless = True
            self._plain = False
        if not self.keep_alive:
            framing += CLOSE
        elif self.http_version == "HTTP/1.0":
            framing += KEEP_ALIVE
        return status_line(status) + lines + framing + b"\r\n"

    def send_informational(self, status: int, headers: Headers) -> bytes:
        """A 1xx other than 101; nothing to an HTTP/1.0 client, which would take it for the reply (RFC 9110 section 15.2)."""
        if self.http_version == "HTTP/1.0":
            return b""
        return status_line(status) + field_lines(headers) + b"\r\n"

    def send_data(self, data: bytes) -> bytes:
        """Bytes of the reply's body as they go on the wire."""
        if self._reply_bodiless:
            return b""
        return chunk(data) if self._reply_chunked else data

    def send_end(self, trailers: Headers = []) -> bytes:  # noqa: B006  It is never changed.
        """The reply's end; trailers can only be sent where the body is chunked, and are dropped elsewhere."""
        return last_chunk(trailers) if self._reply_chunked else b""

    def start_tunnel(self, status: int, headers: Headers) -> bytes:
        """The reply that ends HTTP on this connection: 101 to an upgrade, or 2xx to CONNECT. From here on events are raw bytes."""
        assert self.complete, f"start_tunnel while {self._state.value}"
        self._state = _TUNNEL
        self.keep_alive = False
        upgrade = b"connection: upgrade\r\nupgrade: %b\r\n" % self.upgrade if status == _SWITCHING else b""
        return status_line(status) + field_lines(headers) + upgrade + b"\r\n"
