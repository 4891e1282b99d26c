"""The upstream machine of HTTP/1: one connection, one exchange at a time, back to the pool in between."""

from __future__ import annotations

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http.lines import lines
from runtime.http.pool import ConnectDeadline, Pool
from runtime.http.stream import ExchangeSide, Waiter
from runtime.http.websocket import WEBSOCKET, keyed
from runtime.http1 import NEED_DATA, EndOfMessage, Http1Client, Limits, ProtocolError
from runtime.http1.spelling import SpellingClient, spelled_lines
from runtime.lane.channel import Channel
from runtime.lane.wheel import NEVER, Timer
from runtime.socket_address import local_name
from runtime.telemetry import Failure

_SWITCHING = 101
_OK = 200


class Http1Upstream:
    """One connection, which is also its one stream. Owns its codec, the bytes gathered since the last flush, and its deadlines.

    ``waiter`` is the exchange that it serves, None while it is idle in its pool.
    """

    __slots__ = (
        "_codec",
        "_connecting",
        "_idle",
        "_lines",
        "_out",
        "_retired",
        "_tunnel",
        "capacity",
        "channel",
        "host",
        "local",
        "pool",
        "requests",
        "reused",
        "waiter",
    )

    channel: Channel

    def __init__(self, pool: Pool) -> None:
        deadlines = pool.plane.generation.deadlines
        self.pool = pool
        self.host = pool.host
        self.local = ""
        self.capacity = 0
        self.waiter: ExchangeSide | None = None
        self.reused = False
        spelling = pool.plane.generation.prepared.proxy.headers.spelling
        self._lines = spelled_lines if spelling else lines
        self._codec = (SpellingClient if spelling else Http1Client)(
            limits=Limits(max_head_bytes=deadlines.max_head_bytes, max_headers=deadlines.max_headers)
        )
        self._out: list[bytes] = []
        self.requests = 0
        self._retired = False
        self._tunnel = False
        self._idle = Timer(self._idle_expired)
        self._connecting: ConnectDeadline | None = ConnectDeadline(pool, lambda: self.channel)

    # --- in the pool ---------------------------------------------------------------------------------------------------------

    def open(self, waiter: Waiter) -> None:
        """See UpstreamConnection."""
        self.capacity = 0
        self._idle.due = NEVER
        self.reused = self.requests > 0
        self.requests += 1
        self.waiter = waiter
        waiter.on_stream(self)

    def retire(self) -> None:
        """See UpstreamConnection."""
        self._retired = True
        if self.waiter is None and self._connecting is None:
            self._close()

    def _idle_expired(self) -> None:
        if self.waiter is None:
            self._close()

    def _close(self) -> None:
        self.capacity = 0
        self.channel.close()
        self.pool.on_closed(self)

    def _done(self) -> None:
        """The exchange has its response. The connection goes back where everything about it is clean, else it closes."""
        pool = self.pool
        self.waiter = None
        most = pool.limits.max_requests_per_connection
        reusable = self._codec.reusable and not self._retired and not (most and self.requests >= most)
        if reusable and not self._out and not self.channel.queued:
            self.capacity = 1
            lane = pool.plane.lane
            idle = self._idle
            idle.due = due = lane.now + pool.idle_s
            if idle.slot > due + pool.idle_slack_s:
                lane.wheel.set(idle, lane.now, pool.idle_s)
            pool.on_stream_done(self)
        else:
            pool.on_stream_done(self)
            self._close()

    # --- the stream ----------------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """See UpstreamStream."""
        return self.channel.full

    def send_request(
        self, head: RequestHead, *, content_length: int | None, end: bool, upgrade: bytes, checked: bool
    ) -> None:
        """See UpstreamStream; raises ProtocolError where configuration made a target that cannot be sent."""
        headers = head.headers
        if content_length is not None:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        if upgrade == WEBSOCKET:
            headers = keyed(headers)
        data = self._codec.send_head_lines(
            head,
            self._lines(headers),
            content_length=content_length,
            chunked=not end and content_length is None,
            upgrade=upgrade,
            checked=checked,
        )
        if end:
            self.channel.send(data)
        else:
            self._out.append(data)

    def send_data(self, data: bytes) -> None:
        """See UpstreamStream."""
        self._out.append(data if self._tunnel else self._codec.send_data(data))

    def send_end(self, trailers: Headers) -> None:
        """See UpstreamStream."""
        if self._tunnel:
            self.flush()
            self.channel.finish()
            return
        end = self._codec.send_end(trailers)
        if end:
            self._out.append(end)

    def flush(self) -> None:
        """See UpstreamStream."""
        out = self._out
        if out:
            self.channel.send(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def pause(self) -> None:
        """See UpstreamStream."""
        self.channel.pause()

    def resume(self) -> None:
        """See UpstreamStream; what the codec still holds comes before what the socket has."""
        self.channel.resume()

    def close_tunnel(self) -> None:
        """See UpstreamStream."""
        self.waiter = None
        self.pool.on_stream_done(self)
        self.channel.close_after_drain()
        self.pool.on_closed(self)

    def cancel(self) -> None:
        """See UpstreamStream: HTTP/1 has no other way to give up than to close."""
        if self.waiter is not None:
            self.waiter = None
            self.pool.on_stream_done(self)
        if not self.channel.closed:
            self.channel.abort()
            self.pool.on_closed(self)

    # --- the sink ------------------------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """See Sink."""
        deadline, self._connecting = self._connecting, None
        if deadline is not None:
            deadline.timer.cancel()
        self.local = local_name(self.channel.sock)
        self.capacity = 1
        self.pool.on_connected()
        self.pool.on_ready(self)

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        exchange = self.waiter
        if exchange is None:
            # Bytes that nobody asked for: the connection cannot be trusted to be in step (response splitting).
            self._close()
            return
        try:
            codec = self._codec
            event = codec.receive_data(data)
            if type(event) is ResponseHead and event.status >= _OK and (body := codec.take_whole()) is not None:
                length = codec.content_length
                self._done()
                exchange.on_response(event, codec.fields, length, body)
                return
            while event is not NEED_DATA:
                if not self._pass_on(exchange, event):
                    return
                event = codec.next_event()
        except ProtocolError as error:
            self._fail(Failure.UPSTREAM_PROTOCOL, str(error))
            return
        exchange.flush_downstream()

    def _pass_on(self, exchange: ExchangeSide, event: object) -> bool:
        """Tells the exchange one event; False where the stream is over or was given up."""
        codec = self._codec
        if type(event) is bytes:
            exchange.on_response_data(event)
            if not codec.complete:
                return self.waiter is exchange
            if self.waiter is exchange:
                self._end(exchange, codec.trailers)
            return False
        if type(event) is ResponseHead:
            return self._pass_head(exchange, event)
        if type(event) is EndOfMessage and self.waiter is exchange:
            self._end(exchange, event.trailers)
        return False

    def _pass_head(self, exchange: ExchangeSide, head: ResponseHead) -> bool:
        codec = self._codec
        if head.status < _OK and head.status != _SWITCHING:
            exchange.on_informational(head)
            return self.waiter is exchange
        if head.status == _SWITCHING or codec.tunnels:
            self._tunnel = True
            exchange.on_tunnel(head)
            return self.waiter is exchange
        exchange.on_response_head(head, codec.fields, content_length=codec.content_length, end=False)
        return self.waiter is exchange

    def _end(self, exchange: ExchangeSide, trailers: Headers) -> None:
        self._done()
        exchange.on_response_end(trailers)
        exchange.flush_downstream()

    def on_eof(self) -> None:
        """See Sink."""
        exchange = self.waiter
        if exchange is None:
            self._close()
            return
        if self._tunnel:
            exchange.on_response_end([])
            return
        cut = _cut(self._codec)
        try:
            event = self._codec.receive_eof()
        except ProtocolError:
            event = None
        if isinstance(event, EndOfMessage) and self.channel.clean_eof:
            self._end(exchange, [])
        else:
            self.pool.load.left += 1
            self._fail(cut, "connection termination")

    def on_drained(self) -> None:
        """See Sink."""
        if self.waiter is not None:
            self.waiter.on_upstream_drained()

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        if self._connecting is not None:
            self._connecting.timer.cancel()
            self._connecting = None
            self.pool.on_connect_failed(self, error)
            return
        self.capacity = 0
        exchange, self.waiter = self.waiter, None
        if exchange is not None:
            self.pool.on_stream_done(self)
        self.pool.on_closed(self)
        if exchange is not None:
            cut = _cut(self._codec)
            self.pool.load.left += 1
            self.pool.load.broken += cut is Failure.UPSTREAM_PROTOCOL
            exchange.on_upstream_failed(cut, error.strerror or str(error))

    def _fail(self, failure: Failure, reason: str) -> None:
        exchange = self.waiter
        self.cancel()
        if exchange is not None:
            self.pool.load.broken += failure is Failure.UPSTREAM_PROTOCOL
            exchange.on_upstream_failed(failure, reason)


def _cut(codec: Http1Client) -> Failure:
    """What the end of a connection means to the exchange on it: inside a message it breaks the protocol (Envoy)."""
    return Failure.UPSTREAM_PROTOCOL if codec.began else Failure.UPSTREAM_CLOSED
