"""What a connection machine says about its streams. Every event but the last three names a stream."""

from __future__ import annotations

import msgspec

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http2.error import Reason


class RequestReceived(msgspec.Struct, gc=False):
    """A request's head. ``ended``: there is no body. ``protocol`` is extended CONNECT's (RFC 8441), else b""."""

    stream_id: int
    head: RequestHead
    content_length: int | None
    ended: bool
    protocol: bytes = b""


class ResponseReceived(msgspec.Struct, gc=False):
    """A response's head; a status under 200 is informational and another follows. ``ended``: there is no body."""

    stream_id: int
    head: ResponseHead
    content_length: int | None
    ended: bool


class DataReceived(msgspec.Struct, gc=False):
    """Body bytes. ``flow_bytes`` is what they cost in the windows (padding included): give it to ``acknowledge`` once they have gone on."""

    stream_id: int
    data: bytes
    flow_bytes: int
    ended: bool


class TrailersReceived(msgspec.Struct, gc=False):
    """The end of a message with trailers."""

    stream_id: int
    trailers: Headers


class StreamReset(msgspec.Struct, gc=False):
    """The stream is over before its end. ``reason`` is set where we ended it, for the peer's fault.

    ``unprocessed`` says that the peer vouches not to have acted on it (REFUSED_STREAM, or beyond a GOAWAY's last stream): safe to retry elsewhere.
    """

    stream_id: int
    code: int
    unprocessed: bool = False
    reason: Reason | None = None


class WindowOpened(msgspec.Struct, gc=False):
    """``send_data`` on this stream took less than it was given, and can take more now."""

    stream_id: int


class GoAwayReceived(msgspec.Struct, gc=False):
    """The peer will not take new streams on this connection; those it had up to ``last_stream_id`` go on."""

    last_stream_id: int
    code: int


class SettingsReceived(msgspec.Struct, gc=False):
    """The peer's settings have been applied; ``capacity`` of a client may differ."""


Event = (
    RequestReceived
    | ResponseReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | WindowOpened
    | GoAwayReceived
    | SettingsReceived
)
