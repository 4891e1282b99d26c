"""Replies that the proxy makes itself, as headers and bytes; the table of which failure gives which is telemetry's REPLIES."""

from __future__ import annotations

import time
from email.utils import formatdate

import msgspec

from policies.head import Headers
from runtime.http1 import ProtocolError, Reason
from runtime.http1.writer import status_line
from runtime.telemetry import REPLIES, Failure
from runtime.telemetry.flags import grpc_status
from snapshot.decision import LocalReply

_FAILURES = {
    400: Failure.DOWNSTREAM_PROTOCOL,
    414: Failure.HEAD_TOO_LARGE,
    417: Failure.EXPECTATION_UNSUPPORTED,
    431: Failure.HEAD_TOO_LARGE,
    501: Failure.TRANSFER_CODING_UNSUPPORTED,
    505: Failure.VERSION_UNSUPPORTED,
}


class Refusal(msgspec.Struct, frozen=True):
    """A message that never became an exchange: its reply, and the codec's own reason for the log."""

    status: int
    reply: LocalReply
    reason: str

    @classmethod
    def of(cls, error: ProtocolError) -> Refusal:
        """What a protocol error is answered with."""
        failure = Failure.PATH_REFUSED if error.reason is Reason.PATH else _FAILURES[error.status]
        return cls(error.status, REPLIES[failure], error.reason.value)

    @classmethod
    def late(cls) -> Refusal:
        """A head that did not come in time."""
        reply = REPLIES[Failure.HEAD_TIMEOUT]
        return cls(reply.status, reply, Failure.HEAD_TIMEOUT.value)


def refuse(refusal: Refusal, named: Headers) -> bytes:
    """The whole reply to a message that broke the protocol, which also ends the connection. ``named`` is the header by which the proxy is
    called, where it is."""
    body = refusal.reply.body
    lines = [
        b"content-length: %d" % len(body),
        b"content-type: text/plain",
        b"connection: close",
        b"date: " + http_date(),
        *(b"%b: %b" % pair for pair in named),
    ]
    return status_line(refusal.status) + b"\r\n".join((*lines, b"", body))


def local_reply(reply: LocalReply, *, grpc: bool) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a local reply. A gRPC caller reads 200 and ``grpc-status``, and the body's text as ``grpc-message``."""
    if grpc:
        headers = [(b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % grpc_status(reply))]
        if reply.body:
            headers.append((b"grpc-message", _percent(reply.body)))
        return 200, [*headers, *reply.headers], b""
    headers = [(b"content-type", b"text/plain")] if reply.body else []
    return reply.status, [*headers, *reply.headers], reply.body


def _percent(text: bytes) -> bytes:
    """gRPC's percent-encoding of a status message: printable ASCII but ``%`` stays."""
    return b"".join(bytes([byte]) if 32 <= byte <= 126 and byte != 37 else b"%%%02X" % byte for byte in text)


_dated: list[object] = [0, b""]


def http_date() -> bytes:
    """The time as a Date header's value, made once a second."""
    now = int(time.time())
    if now != _dated[0]:
        _dated[:] = [now, formatdate(now, usegmt=True).encode()]
    return _dated[1]  # type: ignore[return-value]
