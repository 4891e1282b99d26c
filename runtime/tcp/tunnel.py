"""A tunnel through an HTTP proxy on the way: what is asked of it, and what its answer means.

By CONNECT over HTTP/1 the connection itself becomes the tunnel. By POST, and by either over HTTP/2, the bytes are a message's body and its answer's
(``framed``): they end together, and the connection may serve again.
"""

from __future__ import annotations

from policies.head import RequestHead
from policies.traffic import Tunnel
from runtime.http.stream import UpstreamStream

_OK, _MULTIPLE = 200, 300


class Tunneling:
    """One relay's tunnel."""

    __slots__ = ("_head", "framed")

    def __init__(self, tunnel: Tunnel, *, framed: bool) -> None:
        self.framed = framed or tunnel.method == "POST"
        host = tunnel.authority.rpartition(":")[0].strip("[]").lower()
        self._head = RequestHead(tunnel.method, "http", tunnel.authority, host, "/", None, [])

    def ask(self, stream: UpstreamStream) -> None:
        """Sends the request on a stream."""
        stream.send_request(self._head, content_length=None, end=not self.framed, upgrade=b"", checked=True)
        stream.flush()


def is_agreement(status: int) -> bool:
    """Whether an answer opens a tunnel."""
    return _OK <= status < _MULTIPLE
