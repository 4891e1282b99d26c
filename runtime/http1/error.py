"""What a peer can do wrong on HTTP/1: one exception, one closed set of reasons, one reply status each."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus


class Reason(Enum):
    """Why a message was refused. The value is the metric label and the access log's detail."""

    REQUEST_LINE = "bad_request_line"
    METHOD = "unknown_method"
    VERSION = "unsupported_version"
    TARGET = "bad_request_target"
    TARGET_TOO_LONG = "request_target_too_long"
    PATH = "refused_path"
    FIELD = "bad_header_field"
    HEAD_TOO_LARGE = "head_too_large"
    TOO_MANY_FIELDS = "too_many_headers"
    HOST = "bad_host"
    HOST_MISMATCH = "host_differs_from_target"
    CONTENT_LENGTH = "bad_content_length"
    TRANSFER_ENCODING = "bad_transfer_encoding"
    UNKNOWN_CODING = "unknown_transfer_coding"
    BOTH_LENGTHS = "content_length_and_transfer_encoding"
    BODY_NOT_ALLOWED = "body_not_allowed"
    EXPECTATION = "unknown_expectation"
    CHUNK = "bad_chunk"
    TRAILER = "bad_trailer"
    STATUS_LINE = "bad_status_line"
    UNEXPECTED_UPGRADE = "unexpected_upgrade"
    UNSOLICITED = "unsolicited_response"
    TRUNCATED = "truncated_message"


_STATUS = {
    Reason.VERSION: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    Reason.TARGET_TOO_LONG: HTTPStatus.REQUEST_URI_TOO_LONG,
    Reason.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Reason.TOO_MANY_FIELDS: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Reason.UNKNOWN_CODING: HTTPStatus.NOT_IMPLEMENTED,
    Reason.EXPECTATION: HTTPStatus.EXPECTATION_FAILED,
}


class ProtocolError(Exception):
    """The peer broke the protocol; the connection must be closed after at most one reply.

    ``status`` is that reply's status where the peer is a client (400 unless the reason has its own); towards an upstream it means nothing.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.status = int(_STATUS.get(reason, HTTPStatus.BAD_REQUEST))
