"""A small HTTP service on the runtime's own server: admin pages, metrics, and the control plane's interface.

A handler is an async function from a whole request to a whole response. It runs in a Trio task of its own (the exchange is parked meanwhile), so it
may wait: a long poll is a handler that waits. Bodies are bounded by ``max_body_bytes`` (413 beyond).
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from socket import socket

import msgspec

from policies.head import Headers, Peer


class ServiceRequest(msgspec.Struct):
    """One request in full. ``path`` is normalised, ``query`` holds the first value of each parameter, percent-decoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    body: bytes
    peer: Peer


class ServiceResponse(msgspec.Struct):
    """One response in full; content-length and date are added by the server."""

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/plain; charset=utf-8"),)
    body: bytes = b""


Handler = Callable[[ServiceRequest], Awaitable[ServiceResponse]]


class ServiceListener(msgspec.Struct):
    """A bound, listening socket and, where the service speaks TLS, its context (ALPN is set by the server).

    With client certificates, ``ServiceRequest.peer.identity`` is the SPIFFE ID of a verified one ("" where none was shown)."""

    socket: socket
    tls: ssl.SSLContext | None = None
