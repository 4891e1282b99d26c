"""How a message's body is framed on the wire, once its head has said so: by length, in chunks, or until the connection closes.

Each reader takes bytes and returns (body bytes, bytes that are not the body's, whether the body is over). A reader keeps at most one unfinished
chunk line, or the trailers, as state; body bytes are handed on in the pieces in which they came.
"""

from __future__ import annotations

import re
from typing import Protocol

from policies.head import Headers
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.grammar import TOKEN, check_early, split_fields

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -~\x80-\xff])*"'
# No possessive groups: Python 3.11.2 (Debian 12) forgets to go back when one fails half-way, and takes ``5;`` for a chunk line. Nothing here can
# be split in two ways, so the plain ones are linear too.
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15}+)((?:;" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?)*)\r\n"
)
# Enough for every extension in use; an attacker's are cut off (CVE-2023-39326: extensions cost without carrying anything).
_MAX_CHUNK_LINE = 1024
_MAX_EXTENSIONS = 16_384
_MAX_TRAILERS = 8192
_MAX_TRAILER_FIELDS = 50
# A trailer must not change framing, routing or authentication after the fact (RFC 9110 section 6.5.1).
_NEVER_TRAILERS = frozenset(
    b"content-length transfer-encoding host connection trailer te upgrade authorization cookie set-cookie expect "
    b"content-type content-encoding content-range cache-control keep-alive proxy-connection".split()
)


class Body(Protocol):
    """The rest of a message after its head."""

    trailers: Headers

    def take(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Body bytes in ``data``, what follows the body, and whether it is over; raises ProtocolError."""


class LengthBody:
    """A body of a known length."""

    __slots__ = ("remaining", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.trailers: Headers = []

    def take(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data, b"", False
        end, self.remaining = self.remaining, 0
        return (data, b"", True) if end == size else (data[:end], data[end:], True)


class CloseBody:
    """A response body that ends with the connection (RFC 9112 section 6.3, rule 8)."""

    __slots__ = ("trailers",)

    def __init__(self) -> None:
        self.trailers: Headers = []

    def take(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        return data, b"", False


class ChunkedBody:
    """The chunked coding, strictly (RFC 9112 section 7.1): CRLF only, no white space, extensions by the grammar and bounded."""

    __slots__ = ("_extensions", "_held", "_in_trailers", "_left", "trailers")

    def __init__(self) -> None:
        self.trailers: Headers = []
        self._left = 0  # Bytes of the current chunk that are still to come, its closing CRLF included.
        self._held = b""  # An unfinished line.
        self._in_trailers = False
        self._extensions = 0

    def take(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self._in_trailers:
            if self._left:
                at = self._take_chunk(data, at, pieces)
                if self._left:
                    return b"".join(pieces), b"", False
            line = _CHUNK_LINE.match(data, at)
            if line is None:
                self._hold_line(data[at:])
                return b"".join(pieces), b"", False
            at = line.end()
            self._start_chunk(line)
        rest = self._take_trailers(data[at:])
        return b"".join(pieces), rest or b"", rest is not None

    def _start_chunk(self, line: re.Match[bytes]) -> None:
        self._extensions += len(line[2])
        if self._extensions > _MAX_EXTENSIONS or len(line[0]) > _MAX_CHUNK_LINE:
            raise ProtocolError(Reason.CHUNK, "extensions too long")
        size = int(line[1], 16)
        self._in_trailers = size == 0
        self._left = size + 2 if size else 0

    def _take_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Moves past what ``data`` has of the current chunk; returns where it stopped."""
        left, size = self._left, len(data)
        body_end = min(at + left - 2, size)
        if body_end > at:
            pieces.append(data[at:body_end])
            left -= body_end - at
            at = body_end
        if left > 2:
            self._left = left
            return at
        given = data[at : at + left]
        if given != b"\r\n"[2 - left : 2 - left + len(given)]:
            raise ProtocolError(Reason.CHUNK, "data longer than its size")
        self._left = left - len(given)
        return at + len(given)

    def _hold_line(self, part: bytes) -> None:
        """Keeps an unfinished chunk line; a finished one that did not match, or one too long, is an error."""
        if b"\n" in part or len(part) > _MAX_CHUNK_LINE or (part and part[0] not in b"0123456789abcdefABCDEF"):
            raise ProtocolError(Reason.CHUNK)
        self._held = part

    def _take_trailers(self, data: bytes) -> bytes | None:
        """Reads the trailer section; returns what follows the message, or None while it is unfinished."""
        if data.startswith(b"\r\n"):
            return data[2:]
        end = data.find(b"\r\n\r\n")
        if end > _MAX_TRAILERS or (end < 0 and len(data) > _MAX_TRAILERS):
            raise ProtocolError(Reason.TRAILER, "too large")
        try:
            if end < 0:
                check_early(data, 0, _MAX_TRAILER_FIELDS)
                self._held = data
                return None
            trailers = split_fields(data, 0, end + 2, _MAX_TRAILER_FIELDS)
        except ProtocolError:
            raise ProtocolError(Reason.TRAILER) from None
        if not _NEVER_TRAILERS.isdisjoint(dict(trailers)):
            raise ProtocolError(Reason.TRAILER, "field not allowed in trailers")
        self.trailers = trailers
        return data[end + 4 :]
