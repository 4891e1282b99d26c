"""gRPC's framing over our HTTP/2 codec, without I/O: as much of a server as one streaming method needs.

A message is one byte (0: not compressed), four bytes of length, and the body (gRPC over HTTP/2, length-prefixed messages). What the windows
do not let out yet is kept here, in order.
"""

from __future__ import annotations

import msgspec

from runtime.http2 import Http2Server, Limits
from runtime.http2.events import DataReceived, RequestReceived, StreamReset, TrailersReceived, WindowOpened

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_PREFIX = 5
_CONTENT_TYPE = (b"content-type", b"application/grpc")
UNIMPLEMENTED = 12
RESOURCE_EXHAUSTED = 8


class Opened(msgspec.Struct, frozen=True):
    """A call of the served method begins."""

    stream_id: int


class Received(msgspec.Struct, frozen=True):
    """One whole message of a call."""

    stream_id: int
    body: bytes


class Closed(msgspec.Struct, frozen=True):
    """The caller has ended a call, or it was reset."""

    stream_id: int


Event = Opened | Received | Closed


class GrpcServer:
    """One connection that serves one method. Owns what has come of unfinished messages, and what waits for a window."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._http = Http2Server(
            limits=Limits(max_streams=8, stream_window_bytes=1 << 20, connection_window_bytes=1 << 22)
        )
        self._partial: dict[int, bytearray] = {}
        self._waiting: dict[int, bytearray] = {}

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What bytes mean; raises ProtocolError, after which only ``data_to_send`` makes sense."""
        found: list[Event] = []
        for event in self._http.receive_data(data, now):
            match event:
                case RequestReceived(stream_id, head):
                    if head.path == self._path and head.method == "POST":
                        self._partial[stream_id] = bytearray()
                        self._http.send_head(stream_id, 200, [_CONTENT_TYPE], content_length=None, end=False)
                        found.append(Opened(stream_id))
                    else:
                        self._refuse(stream_id, UNIMPLEMENTED, started=False)
                case DataReceived(stream_id, part, flow_bytes, ended):
                    self._http.acknowledge(stream_id, flow_bytes)
                    found += self._messages(stream_id, part)
                    if ended:
                        found += self._end(stream_id)
                case TrailersReceived(stream_id) | StreamReset(stream_id):
                    found += self._end(stream_id)
                case WindowOpened(stream_id):
                    self._push(stream_id)
        return found

    def send_message(self, stream_id: int, body: bytes) -> None:
        """Sends one message, now or when the windows allow; nothing where the call is over."""
        if stream_id in self._partial:
            self._waiting.setdefault(stream_id, bytearray()).extend(b"\0" + len(body).to_bytes(4) + body)
            self._push(stream_id)

    def data_to_send(self) -> bytes:
        """Everything to write since the last call."""
        return self._http.data_to_send()

    def _push(self, stream_id: int) -> None:
        waiting = self._waiting.get(stream_id)
        if waiting and self._http.is_open(stream_id):
            taken = self._http.send_data(stream_id, bytes(waiting), end=False)
            del waiting[:taken]

    def _messages(self, stream_id: int, part: bytes) -> list[Event]:
        buffer = self._partial.get(stream_id)
        if buffer is None:
            return []
        buffer += part
        found: list[Event] = []
        while len(buffer) >= _PREFIX:
            size = int.from_bytes(buffer[1:_PREFIX])
            if buffer[0] or size > MAX_MESSAGE_BYTES:
                self._refuse(stream_id, UNIMPLEMENTED if buffer[0] else RESOURCE_EXHAUSTED, started=True)
                return [*found, *self._end(stream_id)]
            if len(buffer) < _PREFIX + size:
                break
            found.append(Received(stream_id, bytes(buffer[_PREFIX : _PREFIX + size])))
            del buffer[: _PREFIX + size]
        return found

    def _end(self, stream_id: int) -> list[Event]:
        self._waiting.pop(stream_id, None)
        return [Closed(stream_id)] if self._partial.pop(stream_id, None) is not None else []

    def _refuse(self, stream_id: int, status: int, *, started: bool) -> None:
        trailers = [(b"grpc-status", b"%d" % status)]
        if started:
            self._http.send_trailers(stream_id, trailers)
        else:
            self._http.send_head(stream_id, 200, [_CONTENT_TYPE, *trailers], content_length=None, end=True)
