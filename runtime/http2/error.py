"""What a peer can do wrong on HTTP/2: one exception for the connection, one for a stream, one closed set of reasons."""

from __future__ import annotations

from enum import Enum, IntEnum


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Reason(Enum):
    """Why a connection or stream was ended by us. The value is the metric label and the access log's detail."""

    PREFACE = "h2_bad_preface"
    FRAME_SIZE = "h2_bad_frame_size"
    FRAME = "h2_bad_frame"
    UNEXPECTED_FRAME = "h2_unexpected_frame"
    STREAM_ID = "h2_bad_stream_id"
    STREAM_CLOSED = "h2_stream_closed"
    SETTING = "h2_bad_setting"
    WINDOW = "h2_flow_control"
    COMPRESSION = "h2_bad_header_block"
    PSEUDO_HEADER = "h2_bad_pseudo_header"
    FIELD = "h2_bad_header_field"
    TARGET = "h2_bad_request_target"
    HOST = "h2_bad_authority"
    CONTENT_LENGTH = "h2_bad_content_length"
    HEAD_TOO_LARGE = "h2_head_too_large"
    TRAILER = "h2_bad_trailer"
    STATUS = "h2_bad_status"
    TOO_MANY_STREAMS = "h2_too_many_streams"
    RESET_FLOOD = "h2_reset_flood"
    CONTROL_FLOOD = "h2_control_flood"


class ProtocolError(Exception):
    """The connection cannot go on. GOAWAY with ``code`` is already in ``data_to_send``; send it and close."""

    def __init__(self, code: ErrorCode, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.code = code
        self.reason = reason


class MalformedError(Exception):
    """One message is malformed (RFC 9113 section 8.1.1). ``status`` is what a request may be answered with, or 0 to only reset the stream."""

    def __init__(self, reason: Reason, *, status: int = 0, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.status = status
        self.code = code
