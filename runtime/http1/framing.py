"""What a head says about its message and its connection: where the body ends, whether the connection lives on, what is hop by hop.

Only heads that carry one of the fields in ``CONNECTION_FIELDS`` come here; most requests carry none and never pay for it.
"""

from __future__ import annotations

from policies.head import Headers
from runtime.http1.error import ProtocolError, Reason
from runtime.http1.grammar import parse_length, split_list

# Fields of one connection, never forwarded (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2); http2-settings belongs to the upgrade to h2c,
# which is never offered.
HOP_BY_HOP = frozenset(b"connection keep-alive proxy-connection transfer-encoding upgrade te http2-settings".split())
CONNECTION_FIELDS = HOP_BY_HOP | {b"content-length", b"expect"}
# What a Connection header may not name away: removing these would change what the next hop understands (CVE-2022-1388's kind).
_NOT_NOMINATED = frozenset(
    b"host content-length transfer-encoding authorization cookie x-forwarded-for x-forwarded-proto x-forwarded-host "
    b"x-forwarded-client-cert x-request-id forwarded".split()
)


class Framing:
    """The answer, filled in by ``read_framing``. ``content_length`` is None where the head gives none."""

    __slots__ = ("chunked", "content_length", "expect_continue", "headers", "keep_alive", "upgrade")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.expect_continue = False
        self.upgrade = b""


def read_framing(headers: Headers, *, http_1_1: bool) -> Framing:
    """Reads the connection's fields and takes them out of ``headers``; content-length and expect stay, since policies may match them.

    Raises ProtocolError for every ambiguity about where the body ends (RFC 9112 section 6; security.md, request smuggling).
    """
    framing = Framing(headers)
    _read_body(framing, http_1_1=http_1_1)
    options = split_list([value for name, value in headers if name == b"connection"])
    framing.keep_alive = b"close" not in options and (http_1_1 or b"keep-alive" in options)
    if b"upgrade" in options and http_1_1:
        protocols = split_list([value for name, value in headers if name == b"upgrade"])
        framing.upgrade = protocols[0] if len(protocols) == 1 and protocols[0] not in {b"h2c", b"h2"} else b""
    expectations = split_list([value for name, value in headers if name == b"expect"])
    if expectations not in ([], [b"100-continue"]):
        raise ProtocolError(Reason.EXPECTATION)
    framing.expect_continue = http_1_1 and bool(expectations)
    nominated = set(options) - _NOT_NOMINATED
    drop = HOP_BY_HOP | nominated if nominated else HOP_BY_HOP
    framing.headers = [pair for pair in headers if pair[0] not in drop]
    return framing


def _read_body(framing: Framing, *, http_1_1: bool) -> None:
    lengths = [value for name, value in framing.headers if name == b"content-length"]
    codings = [value for name, value in framing.headers if name == b"transfer-encoding"]
    if codings:
        if lengths:
            raise ProtocolError(Reason.BOTH_LENGTHS)
        if not http_1_1 or len(codings) > 1:
            raise ProtocolError(Reason.TRANSFER_ENCODING)
        if codings[0].lower() != b"chunked":
            known = codings[0].lower().endswith(b", chunked") and b"chunked" not in codings[0].lower()[:-9]
            raise ProtocolError(Reason.UNKNOWN_CODING if known else Reason.TRANSFER_ENCODING)
        framing.chunked = True
    elif lengths:
        if len(lengths) > 1:
            raise ProtocolError(Reason.CONTENT_LENGTH)
        framing.content_length = parse_length(lengths[0])
