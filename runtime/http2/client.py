"""The upstream side of HTTP/2: requests out, responses in, many at a time."""

from __future__ import annotations

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http1.grammar import may_be_sent
from runtime.http2 import frames
from runtime.http2.blocks import encode_fields
from runtime.http2.connection import DEFAULT_LIMITS, Connection, Limits, without_owned
from runtime.http2.error import ErrorCode, MalformedError, ProtocolError, Reason
from runtime.http2.events import ResponseReceived, StreamReset, TrailersReceived
from runtime.http2.fields import read_response
from runtime.http2.stream import NO_LENGTH, Stream

_OK, _NO_CONTENT, _NOT_MODIFIED = 200, 204, 304


class Http2Client(Connection):
    """One upstream connection. ``capacity`` says how many more requests it takes now; ``most_streams`` is our own bound of it."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits, {frames.ENABLE_PUSH: 0, frames.MAX_CONCURRENT_STREAMS: 0})
        self._out.insert(0, frames.PREFACE)
        self._next_stream = 1
        self._pings = 0
        self.most_streams = frames.MAX_STREAM_ID

    def ping(self) -> int:
        """Asks the peer for a sign of life; it has come when ``pings_answered`` is the number that is returned."""
        self._pings += 1
        self._out.append(frames.frame(frames.PING, 0, 0, self._pings.to_bytes(8, "big")))
        return self._pings

    @property
    def capacity(self) -> int:
        """How many more streams may be opened now; 0 for ever once the peer has left or the numbers are used up."""
        if self.peer_left or self.failed or self._next_stream > frames.MAX_STREAM_ID:
            return 0
        return max(0, min(self.peer_max_streams, self.most_streams) - len(self._streams))

    def send_head(
        self,
        head: RequestHead,
        headers: Headers,
        *,
        content_length: int | None = None,
        end: bool,
        protocol: bytes = b"",
    ) -> int:
        """Opens a stream with a request's head and says its number; ``headers`` are what is sent instead of the head's own.

        Only where ``capacity`` allows. ``protocol`` makes it an extended CONNECT (RFC 8441), only where the peer takes those. Raises
        MalformedError where path or authority cannot be sent.
        """
        block = encode_fields(without_owned(headers))
        return self.send_head_block(head, block, content_length=content_length, end=end, protocol=protocol)

    def send_head_block(
        self,
        head: RequestHead,
        block: bytes,
        *,
        content_length: int | None = None,
        end: bool,
        protocol: bytes = b"",
    ) -> int:
        """The same from fields that ``encode_fields`` prepared."""
        assert self.capacity > 0, "no capacity for a stream"
        pseudo = _pseudo_headers(head)
        if protocol:
            pseudo[0] = (b":method", b"CONNECT")
            pseudo.insert(1, (b":protocol", protocol))
        stream_id = self._next_stream
        self._next_stream += 2
        stream = Stream(stream_id, self._peer_window, self._limits.stream_window_bytes)
        stream.head_request = head.method == "HEAD"
        self._streams[stream_id] = stream
        if content_length is not None:
            block += encode_fields([(b"content-length", b"%d" % content_length)])
        self._send_block(stream, encode_fields(pseudo) + block, end=end)
        return stream_id

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_stream or not stream_id & 1

    def _receive_block(self, stream_id: int, block: bytes, *, end: bool) -> None:
        self._check_idle(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._decode_unseen(block)
            self._on_closed(stream_id)
            return
        self._budget.earn()
        try:
            if stream.head_received:
                self._events.append(TrailersReceived(stream_id, self._read_trailers(stream, block, end=end)))
            else:
                self._receive_response(stream, block, end=end)
        except MalformedError as error:
            self._refuse(stream, error)

    def _decode_unseen(self, block: bytes) -> None:
        """Keeps the table in step for a head that nobody will see."""
        try:
            self._decode(block)
        except MalformedError:
            pass

    def _receive_response(self, stream: Stream, block: bytes, *, end: bool) -> None:
        head, length = self._read_response(block)
        if head.status < _OK:
            if end:
                raise MalformedError(Reason.STATUS)
            self._count_control()
            self._events.append(ResponseReceived(stream.id, head, None, ended=False))
            return
        stream.head_received = True
        if head.status in {_NO_CONTENT, _NOT_MODIFIED}:
            stream.head_request = True
        stream.remaining = NO_LENGTH if length is None else length
        if end:
            self._end_remote(stream)
        self._events.append(ResponseReceived(stream.id, head, length, end))

    def _read_response(self, block: bytes) -> tuple[ResponseHead, int | None]:
        known = self._reader.recall(block)
        if known is None:
            read = read_response(self._decode(block))
            self._reader.remember(block, read)
        else:
            read = known  # type: ignore[assignment]  # What was remembered for a block is what was read from it.
        old, length = read
        return ResponseHead(old.status, old.headers.copy()), length

    def _drop_unserved(self, last: int) -> None:
        for stream in [stream for stream in self._streams.values() if stream.id > last]:
            self._close(stream)
            self._events.append(StreamReset(stream.id, ErrorCode.REFUSED_STREAM, unprocessed=True))

    def _apply_setting(self, key: int, value: int) -> None:
        if key == frames.ENABLE_PUSH and value:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.SETTING)
        super()._apply_setting(key, value)


def _pseudo_headers(head: RequestHead) -> Headers:
    method = head.method.encode("ascii")
    if not may_be_sent(head.authority):
        raise MalformedError(Reason.HOST)
    authority = head.authority.encode("ascii")
    if method == b"CONNECT":
        return [(b":method", method), (b":authority", authority)]
    target = head.path if head.query is None else f"{head.path}?{head.query}"
    if not may_be_sent(target):
        raise MalformedError(Reason.TARGET)
    return [
        (b":method", method),
        (b":scheme", head.scheme.encode("ascii")),
        (b":authority", authority),
        (b":path", target.encode("ascii")),
    ]
