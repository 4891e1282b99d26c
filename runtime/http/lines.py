"""Headers as lines, for heads whose headers are known to be clean: read by a codec, changed by rules and compiled edits."""

from __future__ import annotations

from policies.head import Headers

_line = b": ".join


def lines(headers: Headers) -> bytes:
    """The fields as lines, each with its CRLF. Unlike the codec's ``field_lines`` it looks at no name: whoever calls it has left out what
    the writer adds itself (content-length, and the connection's own fields)."""
    if not headers:
        return b""
    return b"\r\n".join([*map(_line, headers), b""])
