"""What a hop must know of WebSocket (RFC 6455, RFC 8441): the handshake between versions of HTTP, and where a server's frame ends.

Over HTTP/1 a handshake proves itself by a key and its digest; over HTTP/2 it does not. A hop between the two makes what the other side lacks. Frames
pass unread, but for their lengths: only between two frames may the hop speak for the server, to say that it goes away.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Mapping

from policies.head import Headers

WEBSOCKET = b"websocket"
GOING_AWAY = b"\x88\x02\x03\xe9"
"""A server's close frame with code 1001 (RFC 6455 section 7.4.1)."""

_KEY = b"sec-websocket-key"
_ACCEPT = b"sec-websocket-accept"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASKED = 0x80
_SHORT_LENGTH = 0x7F
_LENGTH_BYTES = {126: 2, 127: 8}
_OPCODE = 0x0F
_CLOSE = 0x8


def keyed(headers: Headers) -> Headers:
    """A handshake's headers with a key, where the client gave none because it speaks HTTP/2."""
    if any(name == _KEY for name, _ in headers):
        return headers
    return [*headers, (_KEY, b64encode(os.urandom(16)))]


def accepted(headers: Headers, request: Mapping[bytes, bytes]) -> Headers:
    """The headers of an agreement with the digest of the client's key (RFC 6455 section 4.2.2), where the server, which speaks HTTP/2,
    gave none."""
    key = request.get(_KEY)
    if key is None or any(name == _ACCEPT for name, _ in headers):
        return headers
    return [*headers, (_ACCEPT, b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()))]


class Farewell:
    """Follows what a server says on a WebSocket, so that the hop can say goodbye in its place, which only fits between two frames.

    Bytes that are no frames make it wrong, never fail: nothing but the farewell depends on it.
    """

    __slots__ = ("_closing", "_head", "_left", "_said")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._closing = False
        self._said = False

    def passes(self, data: bytes) -> bool:
        """Takes note of bytes from the server; False where they come after the farewell and are dropped."""
        if self._said:
            return False
        if self._left >= len(data):
            self._left -= len(data)
            return True
        data = self._head + data[self._left :]
        self._left = at = 0
        while len(data) - at >= 2:
            size = data[at + 1] & _SHORT_LENGTH
            wide = _LENGTH_BYTES.get(size, 0)
            start = at + 2 + wide + (4 if data[at + 1] & _MASKED else 0)
            if start > len(data):
                break
            self._closing = self._closing or data[at] & _OPCODE == _CLOSE
            at = start + (int.from_bytes(data[at + 2 : at + 2 + wide]) if wide else size)
        self._left = max(at - len(data), 0)
        self._head = data[at:]
        return True

    def say(self) -> bytes:
        """The close frame to send now, b"" where a frame is under way or the server is closing by itself."""
        if self._left or self._head or self._closing or self._said:
            return b""
        self._said = True
        return GOING_AWAY
