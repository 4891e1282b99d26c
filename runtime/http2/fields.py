"""From decoded fields to heads, with everything that RFC 9113 section 8 and a back end that speaks HTTP/1 ask of them.

A field list is checked as a whole: names by a memory of good ones, values by one search over all of them. What passes can be written as
HTTP/1 without a second look (CVE-2023-27491): tokens are tokens, values have no control characters, there is one authority.
"""

from __future__ import annotations

import re

from policies.head import Headers, RequestHead, ResponseHead
from policies.path import normalize
from runtime.http1 import ProtocolError as Http1Error
from runtime.http1.grammar import parse_length, split_authority
from runtime.http2.error import ErrorCode, MalformedError, Reason

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]{1,256}+")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}+")
_PATH = re.compile(rb"/[!\"$-~]*+")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
# Values are searched joined by line feeds, so that a value's own line feed and its outer white space are found too.
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|[\t ]\n|\n[\t ]")
_CONNECTION_FIELDS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
# The fields that need more than a look: anything else is passed on as it is.
_SPECIAL = _CONNECTION_FIELDS | {b"te", b"host", b"cookie", b"content-length"}
_NEVER_TRAILERS = _SPECIAL | {
    b"authorization",
    b"set-cookie",
    b"expect",
    b"content-type",
    b"content-encoding",
    b"content-range",
}
_VERSIONS = frozenset({b"h2c", b"h2"})
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_KNOWN_NAMES_KEPT = 4096
_good_names: set[bytes] = set()


def read_request(headers: Headers, path_profile: str) -> tuple[RequestHead, int | None, bytes]:
    """The head, the content length and extended CONNECT's protocol of a request; raises MalformedError."""
    pseudo, fields = _split_pseudo(headers, _REQUEST_PSEUDO)
    try:
        method, scheme = pseudo[b":method"], pseudo.get(b":scheme", b"").lower()
    except KeyError:
        raise MalformedError(Reason.PSEUDO_HEADER) from None
    if _METHOD.fullmatch(method) is None:
        raise MalformedError(Reason.PSEUDO_HEADER)
    protocol = pseudo.get(b":protocol", b"")
    fields, host_field, length = _read_special(fields)
    raw_authority = pseudo.get(b":authority", host_field)
    if host_field is not None and host_field.lower() != (raw_authority or b"").lower():
        raise MalformedError(Reason.HOST)
    try:
        authority, host = split_authority(raw_authority or b"")
    except Http1Error:
        raise MalformedError(Reason.HOST, status=400) from None
    if method == b"CONNECT" and not protocol:
        if b":scheme" in pseudo or b":path" in pseudo or ":" not in authority or length is not None:
            raise MalformedError(Reason.PSEUDO_HEADER)
        return RequestHead("CONNECT", "http", authority, host, "", None, fields), None, b""
    if scheme not in {b"http", b"https"} or (protocol and method != b"CONNECT"):
        raise MalformedError(Reason.PSEUDO_HEADER)
    if protocol:
        protocol = protocol.lower()
        # It may become a value of Upgrade, where a list or another version of HTTP would mean something else.
        if _TOKEN.fullmatch(protocol) is None or protocol in _VERSIONS or length:
            raise MalformedError(Reason.PSEUDO_HEADER)
    path, query = _read_path(pseudo.get(b":path", b""), method, path_profile)
    head = RequestHead(method.decode(), scheme.decode(), authority, host, path, query, fields)
    return head, length, protocol


def read_response(headers: Headers) -> tuple[ResponseHead, int | None]:
    """The head and the content length of a response; raises MalformedError."""
    pseudo, fields = _split_pseudo(headers, frozenset({b":status"}))
    status = pseudo.get(b":status", b"")
    if _STATUS.fullmatch(status) is None or status == b"101":
        raise MalformedError(Reason.STATUS)
    fields, _, length = _read_special(fields)
    return ResponseHead(int(status), fields), length


def read_trailers(headers: Headers) -> Headers:
    """Trailers: no pseudo-headers, and nothing that would change framing or routing after the fact; raises MalformedError."""
    _, fields = _split_pseudo(headers, frozenset())
    if not _NEVER_TRAILERS.isdisjoint(dict(fields)):
        raise MalformedError(Reason.TRAILER)
    return fields


def _split_pseudo(headers: Headers, allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], Headers]:
    """Pseudo-headers, which come first and once each, and the fields; names and values are checked."""
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for name, value in headers:
        if name[:1] != b":":
            break
        if name not in allowed or name in pseudo:
            raise MalformedError(Reason.PSEUDO_HEADER)
        pseudo[name] = value
        count += 1
    fields = headers[count:]
    for name, _ in fields:
        if name not in _good_names:
            _check_name(name)
    values = [value for _, value in headers]
    joined = b"\n%b\n" % b"\n".join(values)
    if _BAD_VALUE.search(joined) is not None or joined.count(b"\n") > max(len(values), 1) + 1:
        raise MalformedError(Reason.FIELD)
    return pseudo, fields


def _check_name(name: bytes) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise MalformedError(Reason.PSEUDO_HEADER if name[:1] == b":" else Reason.FIELD)
    if len(_good_names) >= _KNOWN_NAMES_KEPT:
        _good_names.clear()
    _good_names.add(name)


def _read_special(fields: Headers) -> tuple[Headers, bytes | None, int | None]:
    """The fields without host and with one cookie (RFC 9113 section 8.2.3), the Host field and the content length."""
    unique = dict(fields)
    if _SPECIAL.isdisjoint(unique):
        return fields, None, None
    if not _CONNECTION_FIELDS.isdisjoint(unique):
        raise MalformedError(Reason.FIELD)
    if b"te" in unique and any(name == b"te" and value != b"trailers" for name, value in fields):
        raise MalformedError(Reason.FIELD)
    if len(unique) != len(fields):
        for name, reason in ((b"host", Reason.HOST), (b"content-length", Reason.CONTENT_LENGTH)):
            if len([None for key, _ in fields if key == name]) > 1:
                raise MalformedError(reason)
    length: int | None = None
    if b"content-length" in unique:
        try:
            length = parse_length(unique[b"content-length"])
        except Http1Error:
            raise MalformedError(Reason.CONTENT_LENGTH) from None
    host = unique.get(b"host")
    if host is None and b"cookie" not in unique:
        return fields, None, length
    crumbs = [value for name, value in fields if name == b"cookie"]
    fields = [pair for pair in fields if pair[0] != b"host" and pair[0] != b"cookie"]
    if crumbs:
        fields.append((b"cookie", b"; ".join(crumbs)))
    return fields, host, length


def _read_path(raw: bytes, method: bytes, profile: str) -> tuple[str, str | None]:
    if raw == b"*" and method == b"OPTIONS":
        return "*", None
    if _PATH.fullmatch(raw) is None:
        raise MalformedError(Reason.TARGET)
    path, mark, query = raw.decode().partition("?")
    normal = normalize(path, profile)
    if normal is None:
        raise MalformedError(Reason.TARGET, status=400, code=ErrorCode.NO_ERROR)
    return normal, query if mark else None
