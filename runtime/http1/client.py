"""The upstream side of HTTP/1: one request out, its responses in.

States: IDLE (no request is out), HEAD (a response head is awaited), BODY, DONE, TUNNEL, FAILED, as on the downstream side. An upstream is not
trusted with framing either: whatever is ambiguous is refused, bytes that nobody asked for end the connection, and a body that stops
short is an error, never an end.
"""

from __future__ import annotations

import re
from enum import Enum

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http1.body import Body, ChunkedBody, CloseBody, LengthBody
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.events import DEFAULT_LIMITS, END, NEED_DATA, PAUSED, EndOfMessage, Limits, ResponseEvent
from runtime.http1.framing import CONNECTION_FIELDS, read_framing
from runtime.http1.grammar import STATUS_LINE, may_be_sent, parse_length, split_fields
from runtime.http1.writer import CHUNKED, chunk, field_lines, last_chunk


class State(Enum):
    """Where the response side stands."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    DONE = "done"
    TUNNEL = "tunnel"
    FAILED = "failed"


_IDLE, _HEAD, _BODY, _DONE, _TUNNEL, _FAILED = State
_SWITCHING, _OK, _NO_CONTENT, _NOT_MODIFIED, _MULTIPLE = 101, 200, 204, 304, 300
_MAX_INFORMATIONAL = 16
_UNCOMMON = CONNECTION_FIELDS - {b"content-length", b"connection"}
_KEEP = b"keep-alive"
_STATUSES_KEPT = 256
_STATUS_LINE_KEPT = 64
# Status lines of HTTP/1.1 that were read before; emptied when full.
_statuses: dict[bytes, int] = {}


class Http1Client:
    """One upstream connection. Owns the bytes that were received and not yet handed on, and nothing else.

    After a response head: ``content_length`` (also of a HEAD's reply or a 304, which have no body; None: none given), ``chunked``, ``keep_alive``.
    ``fields`` are the headers by name (of repeated ones the last), those of the connection included.
    ``complete`` is true as soon as the response has been handed on entirely; then ``reusable`` says whether the connection can carry another request.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_informational",
        "_limits",
        "_method",
        "_request_chunked",
        "_request_done",
        "_state",
        "_upgrade",
        "chunked",
        "complete",
        "content_length",
        "fields",
        "keep_alive",
    )

    _split = staticmethod(split_fields)
    """See Http1Server."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = b""
        self._state = _IDLE
        self._method = ""
        self._upgrade = b""
        self._request_chunked = False
        self._request_done = True
        self.fields: dict[bytes, bytes] = {}
        self._start_response()

    def _start_response(self) -> None:
        self._body: Body | None = None
        self._informational = 0
        self.complete = False
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True

    # --- the request out -----------------------------------------------------------------------------------------------------

    def send_head(
        self,
        head: RequestHead,
        headers: Headers,
        *,
        content_length: int | None = None,
        chunked: bool = False,
        upgrade: bytes = b"",
    ) -> bytes:
        """The request's head. See ``send_head_lines``; ``headers`` are what is sent instead of the head's own."""
        return self.send_head_lines(
            head, field_lines(headers), content_length=content_length, chunked=chunked, upgrade=upgrade
        )

    def send_head_lines(
        self,
        head: RequestHead,
        lines: bytes,
        *,
        content_length: int | None = None,
        chunked: bool = False,
        upgrade: bytes = b"",
        checked: bool = False,
    ) -> bytes:
        """The request's head from prepared lines (``writer.field_lines``), in origin-form, or authority-form for CONNECT.

        Neither length nor chunked means no body. ``upgrade`` is the protocol to ask for. ``checked`` says that path and authority are as
        a codec has read them. Raises ProtocolError where path or authority cannot stand in a request line: that is our own
        configuration's mistake, and must not split the request.
        """
        assert self._state is _IDLE or self.complete, f"request while {self._state.value}"
        method = head.method
        target = head.path if head.query is None else f"{head.path}?{head.query}"
        if method == "CONNECT":
            target = head.authority
        if not checked and not (may_be_sent(target) and may_be_sent(head.authority)):
            raise ProtocolError(Reason.TARGET)
        if self._body is not None or self._informational or self.chunked:
            self._start_response()
        else:
            # What a plain exchange leaves behind.
            self.complete = False
            self.content_length = None
            self.keep_alive = True
        self._state = _HEAD
        self._method = method
        self._upgrade = upgrade
        self._request_chunked = chunked
        self._request_done = not chunked and not content_length
        start = f"{method} {target} HTTP/1.1\r\nhost: {head.authority}\r\n".encode("ascii")
        if content_length is not None and not (upgrade and content_length == 0):
            return start + lines + b"content-length: %d\r\n\r\n" % content_length
        if chunked:
            return start + lines + CHUNKED + b"\r\n"
        if upgrade:
            return start + lines + b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % upgrade
        return start + lines + b"\r\n"

    def send_data(self, data: bytes) -> bytes:
        """Bytes of the request's body as they go on the wire."""
        return chunk(data) if self._request_chunked else data

    def send_end(self, trailers: Headers = []) -> bytes:  # noqa: B006  It is never changed.
        """The request's end; trailers can only be sent where the body is chunked, and are dropped elsewhere."""
        self._request_done = True
        return last_chunk(trailers) if self._request_chunked else b""

    # --- responses in --------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> ResponseEvent:
        """Takes bytes from the upstream and says the first event; ask ``next_event`` for more. Raises ProtocolError."""
        if self._state is _HEAD and not self._buffer and (end := data.find(b"\r\n\r\n")) >= 0:
            return self._read_head(data, end + 4)
        if self.complete or self._state is _IDLE:
            raise self._fail(ProtocolError(Reason.UNSOLICITED))
        self._buffer = self._buffer + data if self._buffer else data
        return self.next_event()

    def next_event(self) -> ResponseEvent:
        """The next event in the bytes that are there; raises ProtocolError, after which it never says anything else."""
        state = self._state
        if state is _BODY:
            return self._read_body()
        if state is _HEAD:
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                return self._read_head(self._buffer, end + 4)
            self._refuse_early()
            return NEED_DATA
        if state is _TUNNEL:
            data, self._buffer = self._buffer, b""
            return data or NEED_DATA
        return PAUSED

    def take_whole(self) -> bytes | None:
        """The whole body, where all of it has come with its head (most replies); None where it must be read by ``next_event``."""
        if self.complete:
            return b""
        data = self._buffer
        if self._state is not _BODY or self.chunked or len(data) != self.content_length:
            return None
        self._buffer = b""
        self._state = _DONE
        self.complete = True
        return data

    def receive_eof(self) -> ResponseEvent:
        """The upstream has closed: the end of a body that only closing ends, PAUSED where nothing was owed; else raises ProtocolError."""
        self.keep_alive = False
        if self._state is _BODY and not self.complete:
            if not isinstance(self._body, CloseBody):
                raise self._fail(ProtocolError(Reason.TRUNCATED))
            self.complete = True
            self._state = _DONE
            return END
        if self._state is _HEAD:
            raise self._fail(ProtocolError(Reason.TRUNCATED))
        return PAUSED

    @property
    def state(self) -> State:
        """Where the response side stands."""
        return self._state

    @property
    def began(self) -> bool:
        """Whether part of a response has come, and not all of it."""
        return bool(self._buffer) or (self._state is _BODY and not self.complete)

    @property
    def reusable(self) -> bool:
        """True where the exchange is over on both sides, nothing is left over and the upstream keeps the connection."""
        return self.complete and self._request_done and self.keep_alive and not self._buffer

    @property
    def trailers(self) -> Headers:
        """The response's trailers, once it is complete."""
        return self._body.trailers if self._body is not None else []

    def take_rest(self) -> bytes:
        """Hands over the bytes that wait, for whoever takes the connection over."""
        data, self._buffer = self._buffer, b""
        return data

    def _fail(self, error: ProtocolError) -> ProtocolError:
        self._state = _FAILED
        self._buffer = b""
        self.keep_alive = False
        return error

    def _refuse_early(self) -> None:
        data = self._buffer
        if len(data) > self._limits.max_head_bytes:
            raise self._fail(ProtocolError(Reason.HEAD_TOO_LARGE))
        if (b"\n" in data and STATUS_LINE.match(data) is None) or not b"HTTP/1.".startswith(data[:7]):
            raise self._fail(ProtocolError(Reason.STATUS_LINE))

    def _read_head(self, data: bytes, end: int) -> ResponseEvent:
        start = data.find(b"\r\n") + 2
        status = _statuses.get(data[:start], 0)
        line = None
        if not status:
            line = STATUS_LINE.match(data)
            if line is None:
                raise self._fail(ProtocolError(Reason.STATUS_LINE))
            status = _status(line)
        if end > self._limits.max_head_bytes:
            raise self._fail(ProtocolError(Reason.HEAD_TOO_LARGE))
        try:
            head = self._parse_head(status, line is None or line[1] == b"1", data, start, end)
        except ProtocolError as error:
            self._fail(error)
            raise
        self._buffer = data[end:] if len(data) > end else b""
        return head

    def _parse_head(self, status: int, http_1_1: bool, data: bytes, start: int, end: int) -> ResponseHead:
        headers = self._split(data, start, end - 2, self._limits.max_headers)
        protocol = b""
        self.fields = fields = dict(headers)
        if (
            http_1_1
            and fields.keys().isdisjoint(_UNCOMMON)
            and len(fields) == len(headers)
            and fields.get(b"connection", _KEEP) == _KEEP
        ):
            # Most replies say how long they are and at most that the connection lives on: no list needs to be taken apart for that.
            length = fields.get(b"content-length")
            if length is not None:
                self.content_length = parse_length(length)
            if b"connection" in fields:
                headers.remove((b"connection", _KEEP))
        else:
            framing = read_framing(headers, fields, http_1_1=http_1_1)
            headers = framing.headers
            self.fields = dict(headers)
            self.content_length, self.chunked = framing.content_length, framing.chunked
            self.keep_alive = framing.keep_alive
            protocol = framing.upgrade
        if status < _OK:
            self._take_informational(status, protocol)
        else:
            self._take_final(status)
        return ResponseHead(status, headers)

    def _take_informational(self, status: int, protocol: bytes) -> None:
        """A 1xx has no body, and another head follows it, unless it is the 101 that was asked for."""
        self._informational += 1
        if self._informational > _MAX_INFORMATIONAL or self.content_length or self.chunked:
            raise ProtocolError(Reason.BODY_NOT_ALLOWED)
        if status != _SWITCHING:
            self.content_length, self.keep_alive = None, True
            return
        if not self._upgrade or protocol != self._upgrade:
            raise ProtocolError(Reason.UNEXPECTED_UPGRADE)
        self._state = _TUNNEL
        self.keep_alive = False

    @property
    def tunnels(self) -> bool:
        """Whether the connection has become a tunnel, by an upgrade or by CONNECT."""
        return self._state is _TUNNEL

    def _take_final(self, status: int) -> None:
        """Where the body ends, by RFC 9112 section 6.3."""
        if self._method == "CONNECT" and status < _MULTIPLE:
            self._state = _TUNNEL
            self.keep_alive = False
            return
        if status == _NO_CONTENT and (self.chunked or self.content_length):
            raise ProtocolError(Reason.BODY_NOT_ALLOWED)
        if self._method == "HEAD" or status in {_NO_CONTENT, _NOT_MODIFIED} or self.content_length == 0:
            self._state = _DONE
            self.complete = True
            return
        self._state = _BODY
        if self.chunked:
            self._body = ChunkedBody()
        elif self.content_length is None:
            self._body = CloseBody()
            self.keep_alive = False

    def _read_body(self) -> ResponseEvent:
        body = self._body
        if body is None:
            # A body of known length gets its reader only when it did not come whole with its head (``take_whole``).
            assert self.content_length is not None
            body = self._body = LengthBody(self.content_length)
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


def _status(line: re.Match[bytes]) -> int:
    """The status of a line, which is kept where it is one that upstreams repeat."""
    status = int(line[2])
    if line[1] == b"1" and line.end() <= _STATUS_LINE_KEPT:
        if len(_statuses) >= _STATUSES_KEPT:
            _statuses.clear()
        _statuses[line[0]] = status
    return status
