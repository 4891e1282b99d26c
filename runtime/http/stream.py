"""What an exchange and its two sides say to each other, independent of the version of HTTP.

A side calls the exchange's ``on_*`` methods as bytes arrive and ``flush`` once its readiness round is over; the exchange calls the sides' verbs as it
decides. Nothing here waits. Whoever is told that the other side is ``full`` stops reading until ``on_..._drained``.
After ``cancel``, ``abort`` or the end of a message a side never calls its exchange again.
"""

from __future__ import annotations

from typing import Protocol

from policies.head import Headers, Peer, RequestHead, ResponseHead
from runtime.http.rules import Fields
from runtime.http.tally import ClusterLoad, EndpointTally
from runtime.telemetry import Failure
from runtime.tls.identity import PeerCertificate


class Downstream(Protocol):
    """One request's downstream side. ``complete`` says that the request's body is over (or that there is none).

    ``content_length`` is the request's, None where unknown; ``upgrade`` the protocol that it asks to switch to, or b"".
    ``peer`` is who the request is from, ``certificate`` what was shown on its connection.
    """

    peer: Peer
    protocol: str
    content_length: int | None
    complete: bool
    upgrade: bytes

    @property
    def certificate(self) -> PeerCertificate | None:
        """What the client showed, or None."""

    @property
    def connection_peer(self) -> Peer:
        """The two ends of the connection; ``peer`` may be somebody behind it."""

    @property
    def full(self) -> bool:
        """More bytes wait to be sent than the peer takes now; ``on_downstream_drained`` follows."""

    def send_informational(self, status: int, headers: Headers) -> None:
        """Passes a 1xx on (not 101)."""

    def send_head(self, status: int, headers: Headers, *, content_length: int | None, end: bool) -> None:
        """The final head. ``end``: neither body nor trailers follow. Length None: unknown, ended by ``send_end``."""

    def send_whole(self, status: int, headers: Headers, content_length: int | None, body: bytes) -> None:
        """A whole response in one write: ``send_head`` to ``flush`` for a body that is there already."""

    def send_data(self, data: bytes) -> None:
        """Part of the body."""

    def send_end(self, trailers: Headers) -> None:
        """The response's end."""

    def start_tunnel(self, status: int, headers: Headers) -> None:
        """101 to an upgrade or 2xx to CONNECT: from here on data passes both ways until either side ends."""

    def flush(self) -> None:
        """Writes what the calls since the last flush have gathered."""

    def pause(self) -> None:
        """Reads no more of the request's body."""

    def resume(self) -> None:
        """Reads again."""

    def abort(self) -> None:
        """Cuts the response off so that it cannot look finished: HTTP/1 resets the connection, HTTP/2 the stream."""

    def exchange_done(self) -> None:
        """The exchange is over and reported; an HTTP/1 connection goes on with the next request, or closes."""


class UpstreamStream(Protocol):
    """One request's upstream side, on a connection from a pool."""

    host: str
    local: str
    reused: bool

    @property
    def full(self) -> bool:
        """More bytes wait to be sent than the upstream takes now; ``on_upstream_drained`` follows."""

    def send_request(
        self, head: RequestHead, *, content_length: int | None, end: bool, upgrade: bytes, checked: bool
    ) -> None:
        """The head; ``end``: no body follows, and nothing needs to be flushed. Length None without ``end``: a body of unknown length.

        ``checked`` says that path and authority are as a codec read them, so they can be sent on as they are."""

    def send_data(self, data: bytes) -> None:
        """Part of the request's body."""

    def send_end(self, trailers: Headers) -> None:
        """The request's end."""

    def flush(self) -> None:
        """Writes what the calls since the last flush have gathered."""

    def pause(self) -> None:
        """Reads no more of the response's body."""

    def resume(self) -> None:
        """Reads again."""

    def close_tunnel(self) -> None:
        """Both directions of a tunnel have ended: what is queued still goes out, then the connection closes."""

    def cancel(self) -> None:
        """Gives this exchange up: HTTP/1 closes the connection, HTTP/2 resets the stream."""


class ExchangeSide(Protocol):
    """What the sides may call on an exchange."""

    def on_request_data(self, data: bytes) -> None:
        """Part of the request's body."""

    def on_request_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def on_downstream_drained(self) -> None:
        """The downstream takes bytes again."""

    def on_downstream_failed(self, failure: Failure) -> None:
        """The downstream is gone, or broke the protocol inside its body."""

    def on_informational(self, head: ResponseHead) -> None:
        """A 1xx from the upstream (not 101)."""

    def on_response_head(self, head: ResponseHead, fields: Fields, *, content_length: int | None, end: bool) -> None:
        """The final head from the upstream, and its headers by name. ``end``: nothing follows."""

    def on_response(self, head: ResponseHead, fields: Fields, content_length: int | None, body: bytes) -> None:
        """A whole final response without trailers that arrived in one piece; the stream is the pool's again."""

    def on_response_data(self, data: bytes) -> None:
        """Part of the response's body."""

    def on_response_end(self, trailers: Headers) -> None:
        """The response is complete; the stream is the pool's again."""

    def on_tunnel(self, head: ResponseHead) -> None:
        """The upstream agreed to an upgrade or a CONNECT."""

    def on_upstream_drained(self) -> None:
        """The upstream takes bytes again."""

    def on_upstream_failed(self, failure: Failure, reason: str) -> None:
        """The upstream ended before its response did."""

    def flush_downstream(self) -> None:
        """The upstream's round is over: write what it brought."""


class Waiter(ExchangeSide, Protocol):
    """Who asked a pool for a stream."""

    def on_stream(self, stream: UpstreamStream) -> None:
        """Here it is; it is the waiter's until the response ends or ``cancel``."""

    def on_unavailable(self, failure: Failure, reason: str) -> None:
        """There is none; ``reason`` is the transport's own text, for the log."""


class FromClient(Waiter, Protocol):
    """A waiter that knows the connection it serves."""

    @property
    def client(self) -> Peer:
        """The two ends of the downstream connection."""


class EndpointPool(Protocol):
    """Where a request asks for a stream to its endpoint: a pool, or one for each client. ``active`` counts streams in use, for least request."""

    @property
    def active(self) -> int:
        """Streams in use, of all clients."""

    @property
    def load(self) -> ClusterLoad:
        """What the cluster uses together."""

    @property
    def tally(self) -> EndpointTally:
        """What is counted of the endpoint."""

    def acquire(self, waiter: FromClient) -> None:
        """A stream, now or once there is one, by ``on_stream`` or ``on_unavailable``."""

    def acquire_fresh(self, waiter: FromClient) -> None:
        """A stream on a connection that was not used before."""

    def abandon(self, waiter: FromClient) -> None:
        """The waiter does not want its stream any more."""
