"""Bytes -> text, refused with a position where they are not text; and lines counted as libyaml counts them."""

from __future__ import annotations

import re
from itertools import islice

from compiler.diagnostic import Span

# The characters that YAML 1.1 section 4.1.1 forbids; libyaml stops at them too, but without a line.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class NotTextError(Exception):
    """The bytes are not text. ``span`` says where the first that is not stands."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


def decode(file: str, content: bytes) -> str:
    """The text of a file without its byte order mark; raises NotTextError for what is not UTF-8 and for control characters."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        raise NotTextError(
            f"byte 0x{content[error.start]:02x} is not UTF-8 ({error.reason})", _at(file, before, len(before))
        ) from None
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        name = "a NUL byte" if forbidden[0] == "\0" else f"the control character U+{ord(forbidden[0]):04X}"
        raise NotTextError(f"the file holds {name}, which YAML forbids", _at(file, text, forbidden.start()))
    return text


def lines(text: str) -> list[str]:
    """The lines of a text, without their breaks, by YAML's definition of a break."""
    if text.isascii() and "\r" not in text:
        return text.split("\n")
    return _BREAK.split(text)


def line_starts(text: str) -> list[int]:
    """Where each line starts, as an index into the text."""
    return [0, *(match.end() for match in _BREAK.finditer(text))]


def line_at(text: str, number: int) -> str | None:
    """One line of a text (from 0), without its break; None behind the last. Costs what stands before it."""
    start = 0
    for match in islice(_BREAK.finditer(text), number):
        number -= 1
        start = match.end()
    if number:
        return None
    end = _BREAK.search(text, start)
    return text[start : end.start()] if end else text[start:]


def _at(file: str, text: str, index: int) -> Span:
    before = lines(text[:index])
    line, column = len(before), len(before[-1]) + 1
    return Span(file=file, line=line, column=column, end_line=line, end_column=column + 1)
