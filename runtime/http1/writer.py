"""Heads and chunks as bytes. The writer owns framing: whatever the given headers say about it is left out and written anew."""

from __future__ import annotations

from http import HTTPStatus

from policies.head import Headers
from runtime.http1.framing import HOP_BY_HOP

_OWNED = HOP_BY_HOP | {b"content-length", b"host"}
_STATUS_LINES = {int(status): b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode("ascii")) for status in HTTPStatus}

CHUNKED = b"transfer-encoding: chunked\r\n"
CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def status_line(status: int) -> bytes:
    """The status line with its CRLF; an unregistered status gets an empty reason."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def field_lines(headers: Headers) -> bytes:
    """The fields as lines, each with its CRLF, without those that the writer owns. Reusable for every message with the same headers."""
    lines = [name + b": " + value for name, value in headers if name not in _OWNED]
    lines.append(b"")
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body, with trailers where there are some."""
    return b"0\r\n" + field_lines(trailers) + b"\r\n" if trailers else LAST_CHUNK
