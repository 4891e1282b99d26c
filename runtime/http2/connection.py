"""One HTTP/2 connection without I/O: what both roles share (RFC 9113 sections 4 to 6).

Invariants. ``_streams`` holds exactly the streams that are neither idle nor closed. A header block is read whole or not at all: between a HEADERS
without END_HEADERS and its last CONTINUATION no other frame is taken. Every received DATA byte is taken from two windows at once and
given back when the caller acknowledges it, or here where nobody will see it. Nothing is sent before ``data_to_send`` is called.
"""

from __future__ import annotations

from collections import deque

import msgspec

from policies.head import Headers
from runtime.http1.framing import HOP_BY_HOP
from runtime.http2 import frames
from runtime.http2.blocks import EMPTY_TABLE, encode_fields
from runtime.http2.budget import Budget
from runtime.http2.error import ErrorCode, MalformedError, ProtocolError, Reason
from runtime.http2.events import DataReceived, Event, GoAwayReceived, SettingsReceived, StreamReset, WindowOpened
from runtime.http2.fields import read_trailers
from runtime.http2.reading import BlockReader, CompressionError, TooLargeError
from runtime.http2.stream import NO_LENGTH, Stream

_REMEMBERED_CLOSED = 256
_MAX_CONTINUATIONS = 16
DRAIN_PING = b"weft-out"
# The writer owns framing; a header that says something about it is left out. te can only be "trailers" here, which gRPC needs.
_OWNED = (HOP_BY_HOP - {b"te"}) | {b"host", b"content-length"}


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What one connection may cost. Windows in bytes; a head's decoded size counts 32 bytes per field on top (RFC 9113 section 6.5.2)."""

    max_streams: int = 100
    stream_window_bytes: int = 65_536
    connection_window_bytes: int = 1_048_576
    max_head_bytes: int = 32_768
    max_headers: int = 100


DEFAULT_LIMITS = Limits()


class Connection:
    """See the module. ``failed`` is true after a ProtocolError; ``peer_left`` after the peer's GOAWAY."""

    def __init__(self, limits: Limits, first: dict[int, int]) -> None:
        self._limits = limits
        self._streams: dict[int, Stream] = {}
        self._closed: deque[int] = deque(maxlen=_REMEMBERED_CLOSED)  # The latest closed streams.
        self._ignored: deque[int] = deque(maxlen=_REMEMBERED_CLOSED)  # Those that we reset: the peer may not know yet.
        self._blocked: list[Stream] = []
        self._buffer = b""
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._budget = Budget()
        self._reader = BlockReader(limits.max_head_bytes)
        self._block: list[bytes] | None = None
        self._block_flags = 0
        self._block_stream = 0
        self._awaits_settings = True
        self.pings_answered = 0
        self._last_peer_stream = 0
        self._send_window = frames.DEFAULT_WINDOW
        self._receive_window = limits.connection_window_bytes
        self._acknowledged = 0
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_frame_size = frames.DEFAULT_MAX_FRAME_SIZE
        self._first_block = EMPTY_TABLE
        self.peer_max_streams = 100
        self.peer_extended_connect = False
        self.failed = False
        self.peer_left = False
        first |= {
            frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.MAX_HEADER_LIST_SIZE: limits.max_head_bytes,
        }
        self._out.append(frames.settings(first))
        extra = limits.connection_window_bytes - frames.DEFAULT_WINDOW
        if extra > 0:
            self._out.append(frames.window_update(0, extra))
        else:
            self._receive_window = frames.DEFAULT_WINDOW

    # --- for the caller ------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float = 0.0) -> list[Event]:
        """Takes bytes from the peer and says what they mean, in order; raises ProtocolError, after which the connection is only good for a GOAWAY.

        ``now`` is in seconds on any steady clock: budgets against floods recover with it.
        """
        if self.failed:
            return []
        self._budget.pass_time(now)
        events: list[Event] = []
        self._events = events
        try:
            self._read_frames(self._buffer + data if self._buffer else data)
        except ProtocolError as error:
            self.failed = True
            self._out.append(frames.goaway(self._last_peer_stream, error.code))
            raise
        return events

    def data_to_send(self) -> bytes:
        """Everything to write since the last call; ask once per readiness round."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out) if len(out) > 1 else out[0]
        out.clear()
        return data

    @property
    def settled(self) -> bool:
        """Whether the peer's settings have come."""
        return not self._awaits_settings

    @property
    def open_streams(self) -> int:
        """How many streams are neither idle nor closed."""
        return len(self._streams)

    def is_open(self, stream_id: int) -> bool:
        """Whether the stream is neither idle nor closed."""
        return stream_id in self._streams

    def send_data(self, stream_id: int, data: bytes, *, end: bool) -> int:
        """Sends as much of ``data`` as the windows allow and says how many bytes that was; the stream ends with the last of them where ``end``.

        After less than all of it, a WindowOpened event for the stream says when to come again with the rest.
        """
        stream = self._streams[stream_id]
        size = len(data)
        allowed = min(size, stream.send_window, self._send_window)
        if allowed < size:
            if not stream.blocked:
                stream.blocked = True
                self._blocked.append(stream)
            if allowed <= 0:
                return 0
        self._budget.earn()
        stream.send_window -= allowed
        self._send_window -= allowed
        last = end and allowed == size
        step = self._peer_frame_size
        if allowed <= step:
            self._out.append(frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream_id, data[:allowed]))
        else:
            for at in range(0, allowed, step):
                stop = min(at + step, allowed)
                flags = frames.END_STREAM if last and stop == allowed else 0
                self._out.append(frames.frame(frames.DATA, flags, stream_id, data[at:stop]))
        if last:
            self._end_local(stream)
        return allowed

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """Ends the stream with trailers, or without where there are none; all data must have been taken before."""
        if not trailers:
            self.send_data(stream_id, b"", end=True)
            return
        self._send_block(self._streams[stream_id], encode_fields(without_owned(trailers)), end=True)

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Gives a DataReceived's bytes back to the windows, also where the stream is over by now. Updates go out in batches of half a window."""
        limits = self._limits
        self._acknowledged += flow_bytes
        if self._acknowledged * 2 >= limits.connection_window_bytes:
            self._out.append(frames.window_update(0, self._acknowledged))
            self._receive_window += self._acknowledged
            self._acknowledged = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_ended:
            return
        stream.acknowledged += flow_bytes
        if stream.acknowledged * 2 >= limits.stream_window_bytes:
            self._out.append(frames.window_update(stream_id, stream.acknowledged))
            stream.receive_window += stream.acknowledged
            stream.acknowledged = 0

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Ends a stream at once; what the peer still sends on it is ignored. Nothing happens where it is over already."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._ignored.append(stream_id)
            self._out.append(frames.rst_stream(stream_id, code))
            self._close(stream)

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Tells the peer that no stream after the latest one will be served."""
        self._out.append(frames.goaway(self._last_peer_stream, code))

    # --- for the roles -------------------------------------------------------------------------------------------------------

    def _receive_block(self, stream_id: int, block: bytes, *, end: bool) -> None:
        raise NotImplementedError

    def _on_settings_answered(self) -> None:
        """The peer has taken our SETTINGS."""

    def _on_drain_answered(self) -> None:
        """The peer has seen everything that was sent before the drain's PING."""

    def _is_idle(self, stream_id: int) -> bool:
        raise NotImplementedError

    def _send_block(self, stream: Stream, block: bytes, *, end: bool) -> None:
        if self._first_block:
            block, self._first_block = self._first_block + block, b""
        self._budget.earn()
        self._out.append(frames.header_frames(stream.id, block, self._peer_frame_size, end_stream=end))
        if end:
            self._end_local(stream)

    def _decode(self, block: bytes) -> Headers:
        """The fields of a block; raises ProtocolError where the table is lost, MalformedError where only this head is too large."""
        try:
            headers = self._reader.decode(block)
        except TooLargeError:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, Reason.HEAD_TOO_LARGE) from None
        except CompressionError as error:
            raise ProtocolError(ErrorCode.COMPRESSION_ERROR, Reason.COMPRESSION, str(error)) from None
        if len(headers) > self._limits.max_headers + 4:
            raise MalformedError(Reason.HEAD_TOO_LARGE, status=431, code=ErrorCode.NO_ERROR)
        return headers

    def _read_trailers(self, stream: Stream, block: bytes, *, end: bool) -> Headers:
        """The trailers that end a stream's other side; raises MalformedError."""
        headers = self._decode(block)
        if stream.remote_ended:
            raise MalformedError(Reason.STREAM_CLOSED, code=ErrorCode.STREAM_CLOSED)
        if not end:
            raise MalformedError(Reason.TRAILER)
        trailers = read_trailers(headers)
        self._end_remote(stream)
        return trailers

    def _refuse(self, stream: Stream, error: MalformedError) -> None:
        """Resets a stream for the peer's fault, within the budget for such resets."""
        self.reset(stream.id, error.code)
        self._events.append(StreamReset(stream.id, error.code, reason=error.reason))
        self._count_reset()

    def _count_reset(self) -> None:
        if not self._budget.spend_reset():
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, Reason.RESET_FLOOD)

    def _count_control(self) -> None:
        if not self._budget.spend_control():
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, Reason.CONTROL_FLOOD)

    def _check_idle(self, stream_id: int) -> None:
        if stream_id == 0 or self._is_idle(stream_id):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)

    def _end_local(self, stream: Stream) -> None:
        stream.local_ended = True
        if stream.remote_ended:
            self._budget.earn_exchange()
            self._close(stream)

    def _end_remote(self, stream: Stream) -> None:
        if stream.remaining > 0 and not stream.head_request:
            raise MalformedError(Reason.CONTENT_LENGTH)
        stream.remote_ended = True
        if stream.local_ended:
            self._budget.earn_exchange()
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is not None:
            self._closed.append(stream.id)
        if stream.blocked:
            stream.blocked = False
            self._blocked.remove(stream)

    # --- frames in -----------------------------------------------------------------------------------------------------------

    def _read_frames(self, data: bytes) -> None:
        at, size, by_type = 0, len(data), self._by_type
        while size - at >= 9:
            high, low, kind, flags, stream_id = frames.read_header(data, at)
            length = high << 8 | low
            if length > frames.DEFAULT_MAX_FRAME_SIZE:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
            end = at + 9 + length
            if end > size:
                break
            payload = data[at + 9 : end]
            at = end
            stream_id &= 0x7FFFFFFF
            if self._awaits_settings and not (kind == frames.SETTINGS and not flags & frames.ACK):
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.PREFACE)
            if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block_stream):
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.UNEXPECTED_FRAME)
            if kind < len(by_type):
                by_type[kind](self, flags, stream_id, payload)
            else:
                self._count_control()
        self._buffer = data[at:] if at < size else b""

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        flow = len(payload)
        if flow > self._receive_window:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, Reason.WINDOW)
        self._check_idle(stream_id)
        self._receive_window -= flow
        data = _without_padding(payload) if flags & frames.PADDED else payload
        stream = self._streams.get(stream_id)
        if stream is None:
            self.acknowledge(stream_id, flow)
            self._on_closed(stream_id)
            return
        try:
            self._take_data(stream, data, flow, ended=bool(flags & frames.END_STREAM))
        except MalformedError as error:
            self.acknowledge(stream_id, flow)
            self._refuse(stream, error)

    def _take_data(self, stream: Stream, data: bytes, flow: int, *, ended: bool) -> None:
        if stream.remote_ended:
            raise MalformedError(Reason.STREAM_CLOSED, code=ErrorCode.STREAM_CLOSED)
        if flow > stream.receive_window:
            raise MalformedError(Reason.WINDOW, code=ErrorCode.FLOW_CONTROL_ERROR)
        if not stream.head_received or (stream.head_request and data):
            raise MalformedError(Reason.UNEXPECTED_FRAME)
        stream.receive_window -= flow
        if stream.remaining != NO_LENGTH:
            stream.remaining -= len(data)
            if stream.remaining < 0:
                raise MalformedError(Reason.CONTENT_LENGTH)
        if data:
            self._budget.earn()
        elif not ended:
            self._count_control()
            self.acknowledge(stream.id, flow)
            return
        if ended:
            self._end_remote(stream)
        self._events.append(DataReceived(stream.id, data, flow, ended))

    def _on_closed(self, stream_id: int) -> None:
        """A frame on a stream that is over: ignored where we ended it and the peer may not know, else an error (RFC 9113 section 5.1)."""
        self._count_control()
        if stream_id not in self._ignored:
            raise ProtocolError(ErrorCode.STREAM_CLOSED, Reason.STREAM_CLOSED)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        if flags & frames.PRIORITY_FLAG:
            if len(payload) < 5:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
            if frames.read_u32(payload) & 0x7FFFFFFF == stream_id:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.FRAME, "depends on itself")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._receive_block(stream_id, payload, end=bool(flags & frames.END_STREAM))
            return
        self._block, self._block_flags, self._block_stream = [payload], flags, stream_id

    def _on_continuation(self, flags: int, _stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.UNEXPECTED_FRAME)
        block.append(payload)
        if len(block) > _MAX_CONTINUATIONS or sum(map(len, block)) > self._limits.max_head_bytes:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, Reason.HEAD_TOO_LARGE)
        if flags & frames.END_HEADERS:
            self._block = None
            self._receive_block(self._block_stream, b"".join(block), end=bool(self._block_flags & frames.END_STREAM))

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Deprecated and ignored (RFC 9113 section 5.3.2), but still checked."""
        if stream_id == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        if len(payload) != 5:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        if frames.read_u32(payload) & 0x7FFFFFFF == stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.FRAME, "depends on itself")
        self._count_control()

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        self._check_idle(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._count_control()
            return
        code = frames.read_u32(payload)
        self._close(stream)
        self._events.append(StreamReset(stream_id, code, unprocessed=code == ErrorCode.REFUSED_STREAM))
        self._count_reset()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        self._count_control()
        if flags & frames.ACK:
            self._on_settings_answered()
            return
        self._awaits_settings = False
        for key, value in frames.split_settings(payload):
            self._apply_setting(key, value)
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._events.append(SettingsReceived())

    def _apply_setting(self, key: int, value: int) -> None:
        if key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, Reason.SETTING)
            change, self._peer_window = value - self._peer_window, value
            for stream in self._streams.values():
                stream.send_window += change
                if stream.send_window > frames.MAX_WINDOW:
                    raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, Reason.WINDOW)
            self._unblock()
        elif key == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_MAX_FRAME_SIZE <= value < 1 << 24:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.SETTING)
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif key in {frames.ENABLE_PUSH, frames.ENABLE_CONNECT_PROTOCOL} and value > 1:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.SETTING)
        elif key == frames.ENABLE_CONNECT_PROTOCOL:
            self.peer_extended_connect = self.peer_extended_connect or value == 1

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.UNEXPECTED_FRAME, "push was never enabled")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        if len(payload) != 8:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        self._count_control()
        if not flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == DRAIN_PING:
            self._on_drain_answered()
        else:
            self.pings_answered += 1

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.STREAM_ID)
        if len(payload) < 8:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        self._count_control()
        self.peer_left = True
        last = frames.read_u32(payload) & 0x7FFFFFFF
        self._drop_unserved(last)
        self._events.append(GoAwayReceived(last, frames.read_u32(payload[4:])))

    def _drop_unserved(self, last: int) -> None:
        """Ends the streams that the peer says it never acted on; only a client has any."""

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE)
        increment = frames.read_u32(payload) & 0x7FFFFFFF
        self._count_control()
        if stream_id == 0:
            self._send_window += increment
            if not increment or self._send_window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise ProtocolError(code, Reason.WINDOW)
            self._unblock()
            return
        self._check_idle(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.send_window += increment
        if not increment or stream.send_window > frames.MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            self._refuse(stream, MalformedError(Reason.WINDOW, code=code))
        elif stream.blocked:
            self._unblock()

    def _unblock(self) -> None:
        """Says which streams can send again, in the order in which they were stopped."""
        if self._send_window <= 0:
            return
        still: list[Stream] = []
        for stream in self._blocked:
            if stream.send_window > 0:
                stream.blocked = False
                self._events.append(WindowOpened(stream.id))
            else:
                still.append(stream)
        self._blocked = still

    # By frame type; subclasses give the roles' meaning through the methods that these call.
    _by_type = (
        _on_data,
        _on_headers,
        _on_priority,
        _on_rst_stream,
        _on_settings,
        _on_push_promise,
        _on_ping,
        _on_goaway,
        _on_window_update,
        _on_continuation,
    )


def _without_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, Reason.FRAME, "padding")
    return payload[1 : len(payload) - payload[0]]


def without_owned(headers: Headers) -> Headers:
    return [pair for pair in headers if pair[0] not in _OWNED]
