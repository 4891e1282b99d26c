"""The part of a request's body that is kept: until there is a stream to send it on, and for retries as long as it is short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers

if TYPE_CHECKING:
    from runtime.http.stream import UpstreamStream

MAX_HELD = 65_536
"""How much of a request's body, in bytes, is kept for a retry; beyond, the request is sent once."""


class HeldBody:
    """Owns the bytes, and the trailers behind them. False where there is nothing to send."""

    __slots__ = ("_chunks", "_size", "trailers")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.trailers: Headers = []

    def __bool__(self) -> bool:
        return bool(self._chunks or self.trailers)

    def keep(self, data: bytes) -> bool:
        """Keeps some more; False where that makes it more than MAX_HELD."""
        self._size += len(data)
        self._chunks.append(data)
        return self._size <= MAX_HELD

    def send(self, stream: UpstreamStream, *, complete: bool) -> None:
        """Sends what is there, and its end where the client has sent all. A body without bytes was ended with its head."""
        for data in self._chunks:
            stream.send_data(data)
        if complete and self:
            stream.send_end(self.trailers)
