"""What a head says about its message and its connection: where the body ends, whether the connection lives on, what is hop by hop.

Only heads that carry one of the fields in ``CONNECTION_FIELDS`` come here; most requests carry none and never pay for it.
"""

from __future__ import annotations

import msgspec

from policies.head import Headers
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.grammar import parse_length, split_list

# Fields of one connection, never forwarded (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2); http2-settings belongs to the upgrade to h2c,
# which is never offered.
HOP_BY_HOP = frozenset(b"connection keep-alive proxy-connection transfer-encoding upgrade te http2-settings".split())
CONNECTION_FIELDS = HOP_BY_HOP | {b"content-length", b"expect"}
_NOT_OFFERED = frozenset({b"h2c", b"h2"})
# What a Connection header may not name away: removing these would change what the next hop understands (CVE-2022-1388's kind).
_NOT_NOMINATED = frozenset(
    b"host content-length expect authorization cookie x-forwarded-for x-forwarded-proto x-forwarded-host "
    b"x-forwarded-client-cert x-request-id forwarded".split()
)


class Framing(msgspec.Struct, gc=False):
    """The answer: the headers that go on, and what the others said. ``content_length`` is None where the head gives none."""

    headers: Headers
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: bytes


def read_framing(headers: Headers, fields: dict[bytes, bytes], *, http_1_1: bool) -> Framing:
    """Reads the connection's fields and leaves them out, and an expectation, which this hop meets; content-length stays: policies may match it.

    ``fields`` is ``dict(headers)``, which the caller has made anyway, and may be changed. Raises ProtocolError for every
    ambiguity about where the body ends (RFC 9112 section 6; security.md, request smuggling).
    """
    if len(fields) != len(headers):
        _join_repeated(headers, fields)
    length, chunked = _read_body(fields, http_1_1=http_1_1)
    expect = fields.get(b"expect")
    if expect is not None and split_list(expect) != [b"100-continue"]:
        raise ProtocolError(Reason.EXPECTATION)
    if expect is not None:
        headers = [pair for pair in headers if pair[0] != b"expect"]
    if HOP_BY_HOP.isdisjoint(fields):
        return Framing(headers, length, chunked, http_1_1, http_1_1 and expect is not None, b"")
    options = split_list(fields.get(b"connection", b""))
    keep_alive = b"close" not in options and (http_1_1 or b"keep-alive" in options)
    upgrade = b""
    if b"upgrade" in options and http_1_1:
        protocols = split_list(fields.get(b"upgrade", b""))
        upgrade = protocols[0] if len(protocols) == 1 and protocols[0] not in _NOT_OFFERED else b""
    drop = HOP_BY_HOP.union(options) - _NOT_NOMINATED if options else HOP_BY_HOP
    kept = [pair for pair in headers if pair[0] not in drop]
    return Framing(kept, length, chunked, keep_alive, http_1_1 and expect is not None, upgrade)


def _join_repeated(headers: Headers, fields: dict[bytes, bytes]) -> None:
    """Makes ``fields`` hold every value of a repeated list field; a repeated length or coding is refused."""
    seen: set[bytes] = set()
    for name, value in headers:
        if name not in CONNECTION_FIELDS:
            continue
        if name not in seen:
            seen.add(name)
            fields[name] = value
        elif name == b"content-length":
            raise ProtocolError(Reason.CONTENT_LENGTH)
        elif name == b"transfer-encoding":
            raise ProtocolError(Reason.TRANSFER_ENCODING)
        else:
            fields[name] += b"," + value


def _read_body(fields: dict[bytes, bytes], *, http_1_1: bool) -> tuple[int | None, bool]:
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return (None if length is None else parse_length(length)), False
    if length is not None:
        raise ProtocolError(Reason.BOTH_LENGTHS)
    if not http_1_1:
        raise ProtocolError(Reason.TRANSFER_ENCODING)
    if coding.lower() != b"chunked":
        codings = split_list(coding)
        known = codings[-1:] == [b"chunked"] and codings.count(b"chunked") == 1
        raise ProtocolError(Reason.UNKNOWN_CODING if known and len(codings) > 1 else Reason.TRANSFER_ENCODING)
    return None, True
