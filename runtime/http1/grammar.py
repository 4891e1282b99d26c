"""The lexical rules of HTTP/1 as compiled patterns, and the two splits that use them.

A field line is what stands between two CRLFs and must match one pattern as a whole: that refuses bare CR and LF, folded lines, white space
before the colon, control characters and lines without a colon (RFC 9112 section 5). A bounded table remembers lines that passed.
"""

from __future__ import annotations

import re

from policies.head import Headers
from runtime.http1.error import ProtocolError, Reason

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

# IANA's registry without PRI, which only stands in HTTP/2's preface, and what caches and UPnP speak. A name that nobody knows is refused
# as Envoy and llhttp refuse it: whoever matches methods (policies, the next hop) would each make something else of it.
METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL"
    b" MKREDIRECTREF MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE"
    b" SUBSCRIBE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)

# The target excludes '#' (a fragment is never sent) and everything outside visible US-ASCII (RFC 9112 section 3.2).
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"{1,64}+) ([!\"$-~]++) HTTP/1\.([01])\r\n")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*+))?\r\n")
_VERSION = re.compile(rb"[^ \r\n]++ [^ \r\n]++ HTTP/[0-9]\.[0-9]\r\n")
_START = re.compile(rb"" + TOKEN + rb"{1,64}+(?: |\Z)|\r?\Z")
_FIELD = re.compile(rb"(" + TOKEN + rb"++):[ \t]*+([\t -~\x80-\xff]*+)")
_FULL_TARGET = re.compile(r"[!\"$-~]++")
_AUTHORITY = re.compile(r"([A-Za-z0-9_~.-]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{1,5}))?")
_LENGTH_DIGITS = 18

_FIELDS_KEPT = 4096
_LINE_KEPT = 256
# What authenticates is not kept beyond its message, and what differs in every message would only push out the rest.
_NEVER_KEPT = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-request-id", b"traceparent"}
)
_fields: dict[bytes, tuple[bytes, bytes]] = {}
_AUTHORITIES_KEPT = 4096
_authorities: dict[bytes, tuple[str, str]] = {}


def split_fields(data: bytes, start: int, end: int, max_fields: int) -> Headers:
    """The field lines of ``data[start:end]`` (each with its CRLF) as lower-case names and trimmed values; raises ProtocolError.

    Peers repeat most of their lines from message to message, so lines that were read before are looked up whole.
    """
    if start == end:
        return []
    raw = data[start : end - 2].split(b"\r\n")
    if len(raw) > max_fields:
        raise ProtocolError(Reason.TOO_MANY_FIELDS)
    known = _fields.get
    return [known(line) or _read_field(line) for line in raw]


def _read_field(line: bytes) -> tuple[bytes, bytes]:
    if line[:14] == b"x-request-id: " and (value := line[14:]).replace(b"-", b"").isalnum():
        # In every request between two proxies, and never the same: looked at without the pattern.
        return b"x-request-id", value
    matched = _FIELD.fullmatch(line)
    if matched is None:
        raise ProtocolError(Reason.FIELD)
    name, value = matched.groups()
    field = (name.lower(), value.rstrip(b" \t"))
    if len(line) <= _LINE_KEPT and field[0] not in _NEVER_KEPT:
        if len(_fields) >= _FIELDS_KEPT:
            _fields.clear()
        _fields[line] = field
    return field


def check_early(data: bytes, start: int, max_fields: int) -> int:
    """Where the finished field lines end of a head that has not ended, those from ``start`` on being new; raises ProtocolError.

    A line that no continuation can mend is refused at once, rather than when the head's deadline comes: what is wrong is then also said.
    """
    last = data.rfind(b"\r\n")
    end = max(last + 2, start) if last >= 0 else start
    rest = data[end:]
    if b"\n" in rest or b"\r" in rest[:-1]:
        raise ProtocolError(Reason.FIELD)
    for name, value in split_fields(data, start, end, max_fields):
        if name == b"content-length":
            parse_length(value)
    return end


def split_authority(raw: bytes) -> tuple[str, str]:
    """``raw`` as text, and its host part lower-cased without port and trailing dot; raises ProtocolError.

    User information, paths, commas, empty hosts, empty or oversized ports are refused (RFC 9110 section 7.2). A table remembers the
    latest answers, since a proxy sees few authorities many times; it is emptied when full, so a hostile client cannot grow it.
    """
    known = _authorities.get(raw)
    if known is not None:
        return known
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError(Reason.HOST) from None
    matched = _AUTHORITY.fullmatch(text)
    if matched is None or len(text) > 261 or int(matched[2] or 1) not in range(1, 65536):
        raise ProtocolError(Reason.HOST)
    host = matched[1].lower().removesuffix(".")
    if not host or host.startswith(".") or ".." in host:
        raise ProtocolError(Reason.HOST)
    if len(_authorities) >= _AUTHORITIES_KEPT:
        _authorities.clear()
    _authorities[raw] = text, host
    return text, host


def parse_length(raw: bytes) -> int:
    """A Content-Length: digits only, under 10**18 bytes; raises ProtocolError."""
    if not raw.isdigit() or len(raw) > _LENGTH_DIGITS:
        raise ProtocolError(Reason.CONTENT_LENGTH)
    return int(raw)


def split_list(value: bytes) -> list[bytes]:
    """The elements of a comma-separated header, lower-case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [part for raw in value.lower().split(b",") if (part := raw.strip(b" \t"))]


def check_method(method: bytes) -> None:
    """Raises ProtocolError for a method that has no registered meaning."""
    if method not in METHODS:
        raise ProtocolError(Reason.METHOD)


def refuse_line(data: bytes) -> ProtocolError:
    """Says what is wrong with the first line of ``data``, which is not a request line of HTTP/1.0 or 1.1."""
    if _VERSION.match(data) is not None and not data.partition(b"\r\n")[0].endswith((b"HTTP/1.0", b"HTTP/1.1")):
        return ProtocolError(Reason.VERSION)
    return ProtocolError(Reason.REQUEST_LINE)


def may_start_request(data: bytes) -> bool:
    """False where no continuation of ``data`` is a request: what it starts with is no method (a TLS record, for one)."""
    return _START.match(data) is not None


def may_be_sent(target: str) -> bool:
    """True where ``target`` can stand in a request line: a rewrite from configuration must not be able to split it."""
    return _FULL_TARGET.fullmatch(target) is not None
