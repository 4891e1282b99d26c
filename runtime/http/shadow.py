"""A mirrored request: sent beside the real one, its response thrown away, and nothing of it ever waited for.

A shadow never slows its request: it takes a copy of the body's pieces as they pass, and where its upstream is slower than that by more
than ``MAX_HELD`` bytes it is given up, alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http.stream import EndpointPool, UpstreamStream
from runtime.http1 import ProtocolError
from runtime.lane.wheel import Timer
from runtime.telemetry import Failure
from snapshot.resolve import choose_endpoint, mirrored

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange
    from runtime.http.rules import Fields

_SERVER_ERROR = 500
MAX_HELD = 65_536
"""How far a shadow's upstream may fall behind the request's body."""


def shadows_of(exchange: Exchange) -> list[Shadow]:
    """Sets out the shadows of a request whose head is ready to be forwarded; those without an endpoint do not come to be."""
    plane, generation = exchange.plane, exchange.generation
    if exchange.downstream.upgrade or exchange.head.method == "CONNECT":
        return []
    found = []
    for name in mirrored(exchange.plan.decision, plane.draws):
        endpoint = choose_endpoint(name, generation, plane.draws)
        if endpoint is not None:
            found.append(Shadow(exchange, generation.clusters[name].pool(endpoint, exchange.downstream.protocol)))
    return found


def shadow_authority(authority: str) -> str:
    """The authority that a shadow bears, ``name-shadow:port``, by which its upstream can tell it from a request (Envoy, Istio)."""
    host, colon, port = authority.rpartition(":")
    return f"{host}-shadow:{port}" if colon and port.isdigit() else f"{authority}-shadow"


class Shadow:
    """One shadow. Owns its stream, its deadline, and the pieces that wait until the stream is there."""

    __slots__ = (
        "_behind",
        "_bodiless",
        "_complete",
        "_fresh",
        "_head",
        "_held",
        "_length",
        "_pool",
        "_stream",
        "_timer",
        "client",
        "done",
    )

    def __init__(self, exchange: Exchange, pool: EndpointPool) -> None:
        head, downstream, plane = exchange.forwarded, exchange.downstream, exchange.plane
        self.done = False
        self._head = RequestHead(
            head.method,
            head.scheme,
            shadow_authority(head.authority),
            head.host,
            head.path,
            head.query,
            list(head.headers),
        )
        self._length = downstream.content_length
        self._bodiless = self._complete = downstream.complete
        self._held: list[bytes] = []
        self._behind = 0
        self._stream: UpstreamStream | None = None
        self._fresh = False
        self.client = downstream.peer
        self._pool = pool
        self._timer = Timer(self.give_up)
        after_ms = exchange.plan.decision.timeout_ms or exchange.generation.deadlines.stream_idle_ms
        plane.lane.wheel.set(self._timer, plane.lane.now, after_ms / 1000)
        pool.acquire(self)

    # --- what the exchange tells ---------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self.done:
            return
        stream = self._stream
        if stream is None:
            self._held.append(data)
        else:
            stream.send_data(data)
            stream.flush()
        if stream is None or stream.full:
            self._behind += len(data)
            if self._behind > MAX_HELD:
                self.give_up()

    def complete(self, trailers: Headers) -> None:
        """The request's body is over."""
        self._complete = True
        if self._stream is not None and not self.done:
            self._stream.send_end(trailers)
            self._stream.flush()

    def request_ended(self) -> None:
        """The request is answered or gone: a body that is not over by now never will be."""
        if not self._complete:
            self.give_up()

    def give_up(self) -> None:
        """Ends the shadow."""
        if self.done:
            return
        stream, self._stream = self._stream, None
        if stream is None:
            self._pool.abandon(self)
        else:
            stream.cancel()
        self._end()

    def _end(self) -> None:
        self.done = True
        self._stream = None
        self._held.clear()
        self._timer.cancel()

    # --- what the pool and the upstream tell ---------------------------------------------------------------------------------

    def on_stream(self, stream: UpstreamStream) -> None:
        """See Waiter."""
        if self.done:
            stream.cancel()
            return
        self._stream = stream
        try:
            stream.send_request(self._head, content_length=self._length, end=self._bodiless, upgrade=b"", checked=False)
        except ProtocolError:
            self.give_up()
            return
        if not self._bodiless:
            for data in self._held:
                stream.send_data(data)
            self._held.clear()
            if self._complete:
                stream.send_end([])
            stream.flush()

    def on_unavailable(self, failure: Failure, reason: str) -> None:
        """See Waiter; nobody hears of it."""
        del failure, reason
        self._end()

    def on_upstream_failed(self, failure: Failure, reason: str) -> None:
        """See ExchangeSide. An idle connection that was closed under way is no failure: without a body there is another try."""
        del reason
        stream, self._stream = self._stream, None
        stale = stream is not None and stream.reused and failure is Failure.UPSTREAM_CLOSED
        if stale and self._bodiless and not self._fresh and not self.done:
            self._fresh = True
            self._pool.acquire_fresh(self)
            return
        self._end()

    def on_upstream_drained(self) -> None:
        """See ExchangeSide."""
        self._behind = 0

    def on_response(self, head: ResponseHead, fields: Fields, content_length: int | None, body: bytes) -> None:
        """See ExchangeSide: thrown away."""
        del fields, content_length, body
        self._judge(head)
        self._end()

    def on_response_head(self, head: ResponseHead, fields: Fields, *, content_length: int | None, end: bool) -> None:
        """See ExchangeSide: thrown away."""
        del fields, content_length
        self._judge(head)
        if end:
            self._end()

    def _judge(self, head: ResponseHead) -> None:
        """Whatever asks an endpoint counts there."""
        if head.status < _SERVER_ERROR:
            self._pool.tally.succeeded += 1
        else:
            self._pool.tally.erred += 1

    def on_response_data(self, data: bytes) -> None:
        """See ExchangeSide: thrown away."""

    def on_response_end(self, trailers: Headers) -> None:
        """See ExchangeSide."""
        del trailers
        self._end()

    def on_informational(self, head: ResponseHead) -> None:
        """See ExchangeSide: thrown away."""

    def on_tunnel(self, head: ResponseHead) -> None:
        """See ExchangeSide; nothing was asked."""
        del head
        self.give_up()

    def flush_downstream(self) -> None:
        """See ExchangeSide; there is no downstream."""

    def on_request_data(self, data: bytes) -> None:
        """See ExchangeSide; the exchange calls ``send``."""

    def on_request_end(self, trailers: Headers) -> None:
        """See ExchangeSide; the exchange calls ``complete``."""

    def on_downstream_drained(self) -> None:
        """See ExchangeSide; there is no downstream."""

    def on_downstream_failed(self, failure: Failure) -> None:
        """See ExchangeSide; the exchange calls ``request_ended``."""
