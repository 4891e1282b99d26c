"""What one stream still has to send: body bytes that no window took yet, and how the message ends."""

from __future__ import annotations

from collections import deque

from policies.head import Headers
from runtime.http2.connection import Connection

HIGH_WATER = 65_536
"""Unsent bytes of one stream above which its sender should wait."""


class Outbox:
    """One stream's output after its head. Owns the bytes that the codec has not taken; never blocks, never drops."""

    __slots__ = ("_codec", "_ended", "_queue", "_stream_id", "_trailers", "done", "queued")

    def __init__(self, codec: Connection, stream_id: int) -> None:
        self._codec = codec
        self._stream_id = stream_id
        self._queue: deque[bytes] = deque()
        self._ended = False
        self._trailers: Headers = []
        self.queued = 0
        self.done = False

    @property
    def full(self) -> bool:
        """Whether the sender should wait until ``pump`` has made room."""
        return self.queued > HIGH_WATER

    def add(self, data: bytes) -> None:
        """Sends what the windows take and keeps the rest."""
        if not data or not self._codec.is_open(self._stream_id):
            return
        if self._queue:
            self._queue.append(data)
            self.queued += len(data)
            return
        sent = self._codec.send_data(self._stream_id, data, end=False)
        if sent < len(data):
            self._queue.append(data[sent:])
            self.queued = len(data) - sent

    def end(self, trailers: Headers) -> None:
        """Nothing follows but trailers; the stream ends once all is sent."""
        self._ended = True
        self._trailers = trailers
        if not self._queue:
            self._finish()

    def pump(self) -> None:
        """Sends what the windows take now."""
        queue = self._queue
        if not self._codec.is_open(self._stream_id):
            queue.clear()
            self.queued = 0
            return
        while queue:
            data = queue[0]
            sent = self._codec.send_data(self._stream_id, data, end=False)
            self.queued -= sent
            if sent < len(data):
                queue[0] = data[sent:]
                return
            queue.popleft()
        if self._ended and not self.done:
            self._finish()

    def _finish(self) -> None:
        self.done = True
        if self._codec.is_open(self._stream_id):
            self._codec.send_trailers(self._stream_id, self._trailers)
