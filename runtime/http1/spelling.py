"""Names of headers as their sender spelled them, for peers that wrongly care (RFC 9110 section 5.1).

A name stays the lower-case bytes that everybody compares; it only remembers. Names that the writer makes itself (host, and those of framing) are
capitalised in messages of which any other name is: nobody capitalises some.
"""

from __future__ import annotations

from policies.head import Headers, RequestHead
from runtime.http1.client import Http1Client
from runtime.http1.grammar import split_fields
from runtime.http1.server import Http1Server

_NAMES_KEPT = 4096
_NAME_KEPT = 64
_names: dict[bytes, bytes] = {}


class Spelled(bytes):
    """A lower-case name that remembers how it was written."""

    written: bytes


def split_spelled(data: bytes, start: int, end: int, max_fields: int) -> Headers:
    """See ``split_fields``; names that were not written in lower case remember it."""
    fields = split_fields(data, start, end, max_fields)
    raw = data[start : end - 2].split(b"\r\n") if fields else []
    return [(_spelled(line[: len(name)]), value) for line, (name, value) in zip(raw, fields, strict=True)]


def _spelled(written: bytes) -> bytes:
    known = _names.get(written)
    if known is not None:
        return known
    lower = written.lower()
    name: bytes = lower
    if lower != written:
        name = Spelled(lower)
        name.written = written
    if len(written) <= _NAME_KEPT:
        if len(_names) >= _NAMES_KEPT:
            _names.clear()
        _names[written] = name
    return name


class SpelledLines(bytes):
    """Lines of a message of which some name is spelled with capitals."""


def spelled_lines(headers: Headers) -> bytes:
    """The fields as lines, each with its CRLF, with names as they were written."""
    lines = b"".join([b"%b: %b\r\n" % (getattr(name, "written", name), value) for name, value in headers])
    return SpelledLines(lines) if any(isinstance(name, Spelled) for name, _ in headers) else lines


class SpellingServer(Http1Server):
    """A downstream codec that keeps to the spelling of names."""

    __slots__ = ()

    _split = staticmethod(split_spelled)

    def send_head_lines(self, status: int, lines: bytes, *, content_length: int | None) -> bytes:
        """See Http1Server."""
        return _respelled(super().send_head_lines(status, lines, content_length=content_length), lines)


class SpellingClient(Http1Client):
    """An upstream codec that keeps to the spelling of names."""

    __slots__ = ()

    _split = staticmethod(split_spelled)

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
        """See Http1Client."""
        whole = super().send_head_lines(
            head, lines, content_length=content_length, chunked=chunked, upgrade=upgrade, checked=checked
        )
        return _respelled(whole, lines)


def _respelled(head: bytes, lines: bytes) -> bytes:
    """A whole head in which ``lines`` stand, its other names spelled like these."""
    if not isinstance(lines, SpelledLines):
        return head
    before, _, after = head.partition(lines)
    return _capitalised(before) + lines + _capitalised(after)


def _capitalised(part: bytes) -> bytes:
    return b"\r\n".join([_line(line) for line in part.split(b"\r\n")])


def _line(line: bytes) -> bytes:
    name, colon, value = line.partition(b": ")
    # A start line has a space before any colon.
    return name.title() + colon + value if colon and b" " not in name else line
