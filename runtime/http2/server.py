"""The downstream side of HTTP/2: requests in, replies out, many at a time."""

from __future__ import annotations

from policies.head import Headers, RequestHead
from policies.path import BASE
from runtime.http2 import frames
from runtime.http2.blocks import encode_fields
from runtime.http2.connection import DEFAULT_LIMITS, DRAIN_PING, Connection, Limits, without_owned
from runtime.http2.error import ErrorCode, MalformedError, ProtocolError, Reason
from runtime.http2.events import Event, RequestReceived, TrailersReceived
from runtime.http2.fields import read_request
from runtime.http2.stream import NO_LENGTH, Stream

_STATUS_FIELDS = {status: encode_fields([(b":status", b"%d" % status)]) for status in range(100, 600)}
_OK = 200
_NO_CONTENT = 204


class Http2Server(Connection):
    """One downstream connection. ``draining`` is true once ``drain`` was called.

    ``extended_connect`` offers RFC 8441. A request that is malformed in a way that its sender can understand (a refused path, too many
    fields) is answered here and never becomes an event; other malformed ones are reset.
    """

    def __init__(
        self, *, path_profile: str = BASE, limits: Limits = DEFAULT_LIMITS, extended_connect: bool = False
    ) -> None:
        first = {frames.MAX_CONCURRENT_STREAMS: limits.max_streams}
        if extended_connect:
            first[frames.ENABLE_CONNECT_PROTOCOL] = 1
        super().__init__(limits, first)
        self._path_profile = path_profile
        self._extended_connect = extended_connect
        self._preface = frames.PREFACE
        self._last_served = frames.MAX_STREAM_ID
        self._heard = False
        self.draining = False

    def receive_data(self, data: bytes, now: float = 0.0) -> list[Event]:
        """See Connection; the first bytes must be the client's preface (RFC 9113 section 3.4)."""
        if not self._preface:
            return super().receive_data(data, now)
        if self.failed:
            return []
        size = min(len(self._preface), len(data))
        if data[:size] != self._preface[:size]:
            self.failed = True
            self.goaway(ErrorCode.PROTOCOL_ERROR)
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.PREFACE)
        self._preface = self._preface[size:]
        return super().receive_data(data[size:], now)

    # --- replies out ---------------------------------------------------------------------------------------------------------

    def send_head(
        self, stream_id: int, status: int, headers: Headers, *, content_length: int | None, end: bool
    ) -> None:
        """A reply's head, from headers. See ``send_head_block``."""
        self.send_head_block(
            stream_id, status, encode_fields(without_owned(headers)), content_length=content_length, end=end
        )

    def send_head_block(
        self, stream_id: int, status: int, block: bytes, *, content_length: int | None, end: bool
    ) -> None:
        """A reply's head from fields that ``encode_fields`` prepared, informational ones included (``end`` false).

        ``end`` says that no body follows; a reply to HEAD may give the length that its body would have.
        """
        stream = self._streams[stream_id]
        if content_length is not None and status >= _OK and status != _NO_CONTENT:
            block += encode_fields([(b"content-length", b"%d" % content_length)])
        self._send_block(stream, _STATUS_FIELDS[status] + block, end=end)

    def finish(self, stream_id: int) -> None:
        """Tells a client that is still sending that the reply is complete and the rest is not wanted (RFC 9113 section 8.1)."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.local_ended and not stream.remote_ended:
            self.reset(stream_id, ErrorCode.NO_ERROR)

    def drain(self) -> None:
        """Stops new streams without losing any: announces it, and once the client has certainly heard, refuses (RFC 9113 section 6.8).

        A client that has not answered our SETTINGS yet is told when it has: gRPC's takes a connection for ready whose GOAWAY comes with
        the SETTINGS, and tries its calls on it for ever.
        """
        if not self.draining and not self.failed:
            self.draining = True
            if self._heard:
                self._announce()

    def _announce(self) -> None:
        self._out.append(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR))
        self._out.append(frames.frame(frames.PING, 0, 0, DRAIN_PING))

    def _on_settings_answered(self) -> None:
        if self.draining and not self._heard:
            self._announce()
        self._heard = True

    @property
    def drained(self) -> bool:
        """True once a drain has run to its end: the client knows, and nothing is open."""
        return self.draining and self._last_served != frames.MAX_STREAM_ID and not self._streams

    def _on_drain_answered(self) -> None:
        if self.draining and self._last_served == frames.MAX_STREAM_ID:
            self._last_served = self._last_peer_stream
            self.goaway(ErrorCode.NO_ERROR)

    # --- requests in ---------------------------------------------------------------------------------------------------------

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self._last_peer_stream or not stream_id & 1

    def _receive_block(self, stream_id: int, block: bytes, *, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._receive_trailers(stream, block, end=end)
        elif not stream_id & 1:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        elif stream_id > self._last_peer_stream:
            self._receive_request(stream_id, block, end=end)
        elif stream_id in self._ignored:
            self._decode_unseen(block)
        elif stream_id in self._closed:
            raise ProtocolError(ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED)
        else:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)

    def _decode_unseen(self, block: bytes) -> None:
        """Keeps the table in step for a head that nobody will see."""
        self._count_control()
        try:
            self._decode(block)
        except MalformedError:
            pass

    def _receive_request(self, stream_id: int, block: bytes, *, end: bool) -> None:
        self._last_peer_stream = stream_id
        if stream_id > self._last_served or len(self._streams) >= self._limits.max_streams:
            self._decode_unseen(block)
            self._ignored.append(stream_id)
            self._out.append(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            self._count_reset()
            return
        stream = Stream(stream_id, self._peer_window, self._limits.stream_window_bytes)
        self._streams[stream_id] = stream
        self._budget.earn()
        try:
            head, length, protocol = self._read_request(block)
            stream.head_received = True
            stream.remaining = NO_LENGTH if length is None else length
            if end:
                self._end_remote(stream)
        except MalformedError as error:
            self._answer_malformed(stream, error, end=end)
            return
        self._events.append(RequestReceived(stream_id, head, length, end, protocol))

    def _read_request(self, block: bytes) -> tuple[RequestHead, int | None, bytes]:
        known = self._reader.recall(block)
        if known is None:
            read = read_request(self._decode(block), self._path_profile)
            self._reader.remember(block, read)
        else:
            read = known  # type: ignore[assignment]  # What was remembered for a block is what was read from it.
        old, length, protocol = read
        if protocol and not self._extended_connect:
            raise MalformedError(Reason.PSEUDO_HEADER)
        # The headers are copied, since an exchange may edit its own.
        head = RequestHead(old.method, old.scheme, old.authority, old.host, old.path, old.query, old.headers.copy())
        return head, length, protocol

    def _receive_trailers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        try:
            trailers = self._read_trailers(stream, block, end=end)
        except MalformedError as error:
            self._refuse(stream, error)
            return
        self._events.append(TrailersReceived(stream.id, trailers))

    def _answer_malformed(self, stream: Stream, error: MalformedError, *, end: bool) -> None:
        """Answers what can be answered, and resets the rest; either way the stream is over and was never an event."""
        self._count_reset()
        if error.status:
            self._send_block(
                stream, _STATUS_FIELDS[error.status] + encode_fields([(b"content-length", b"0")]), end=True
            )
            error_code = ErrorCode.NO_ERROR
        else:
            error_code = error.code
        if end and error.status:
            self._close(stream)
        else:
            self.reset(stream.id, error_code)
