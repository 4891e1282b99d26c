"""The upstream machine of HTTP/2: one connection of a pool that carries many exchanges.

Writing is gathered as on the downstream side: one send per round for all streams. A response's bytes are acknowledged as the exchange takes
them, unless it has paused; then the upstream runs into that stream's window, and only that one.
"""

from __future__ import annotations

from policies.head import Headers, RequestHead, ResponseHead
from runtime.http.pool import ConnectDeadline, Pool
from runtime.http.stream import ExchangeSide, Waiter
from runtime.http1 import ProtocolError as TargetError
from runtime.http1 import Reason as TargetReason
from runtime.http2.client import Http2Client
from runtime.http2.error import ErrorCode, MalformedError, ProtocolError
from runtime.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from runtime.http2.liveness import Liveness
from runtime.http2.outbox import Outbox
from runtime.http2.settings import limits_of
from runtime.lane.channel import Channel
from runtime.lane.tls_channel import TlsChannel, TlsFailedError
from runtime.lane.wheel import NEVER, Timer
from runtime.socket_address import local_name
from runtime.telemetry import Failure

_SWITCHING, _OK, _MULTIPLE = 101, 200, 300
_ALPN = frozenset({"h2", "istio-h2"})


class Http2Stream:
    """One exchange's upstream side. Owns its request's unsent bytes and its owed acknowledgements.

    ``upgrade`` is the protocol that extended CONNECT asks for, b"" otherwise; ``tunnel`` says that the upstream has agreed. Until the
    upstream's settings have come, which say whether it may be asked, ``stream_id`` is negative and the head waits in ``_asked``.
    """

    __slots__ = (
        "_asked",
        "_connection",
        "_outbox",
        "_owed",
        "_paused",
        "exchange",
        "host",
        "local",
        "reused",
        "stream_id",
        "tunnel",
        "upgrade",
    )

    def __init__(self, connection: Http2Upstream, exchange: ExchangeSide, *, reused: bool) -> None:
        self._connection = connection
        self._outbox: Outbox | None = None
        self._owed = 0
        self._paused = False
        self.exchange: ExchangeSide | None = exchange
        self.host = connection.pool.host
        self.local = connection.local
        self.reused = reused
        self.stream_id = 0
        self.upgrade = b""
        self.tunnel = False
        self._asked: RequestHead | None = None

    # --- the request out -----------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """See UpstreamStream."""
        return (self._outbox is not None and self._outbox.full) or self._connection.channel.full

    def send_request(
        self, head: RequestHead, *, content_length: int | None, end: bool, upgrade: bytes, checked: bool
    ) -> None:
        """See UpstreamStream; raises ProtocolError where configuration made a target that cannot be sent. An upgrade is asked for by
        extended CONNECT (RFC 8441)."""
        del checked
        connection = self._connection
        if upgrade and end:
            self.upgrade = upgrade
            if not connection.codec.settled:
                self._asked = head
                connection.defer(self)
                return
            if not connection.codec.peer_extended_connect:
                connection.pool.plane.lane.soon(self._refuse)
                return
            end, content_length = False, None
        try:
            self.stream_id = connection.codec.send_head(
                head, head.headers, content_length=content_length, end=end, protocol=self.upgrade
            )
        except MalformedError as error:
            raise TargetError(TargetReason.TARGET, str(error)) from None
        self._outbox = Outbox(connection.codec, self.stream_id)
        connection.streams[self.stream_id] = self
        if end or self.upgrade:
            connection.wants_to_write()

    def begin(self) -> None:
        """The upstream's settings have come: sends the head that waited for them."""
        head, self._asked = self._asked, None
        if head is None:
            return
        if self._connection.codec.capacity <= 0:
            self.fail(Failure.UPSTREAM_REFUSED, "the upstream takes no streams")
            return
        try:
            self.send_request(head, content_length=None, end=True, upgrade=self.upgrade, checked=False)
        except TargetError as error:
            self.fail(Failure.UPSTREAM_PROTOCOL, str(error))

    def _refuse(self) -> None:
        if self.exchange is not None:
            self.fail(Failure.UPSTREAM_PROTOCOL, "the upstream takes no extended CONNECT")

    def send_data(self, data: bytes) -> None:
        """See UpstreamStream."""
        if self._outbox is not None:
            self._outbox.add(data)

    def send_end(self, trailers: Headers) -> None:
        """See UpstreamStream."""
        if self._outbox is not None:
            self._outbox.end(trailers)

    def flush(self) -> None:
        """See UpstreamStream."""
        self._connection.wants_to_write()

    def pump(self) -> None:
        """Moves what the windows and the socket take now."""
        outbox = self._outbox
        if outbox is None or self._connection.channel.full:
            return
        was_full = outbox.full
        outbox.pump()
        if was_full and not outbox.full and self.exchange is not None:
            self.exchange.on_upstream_drained()
        if self.tunnel and self.exchange is None and outbox.done:
            self.leave()

    def close_tunnel(self) -> None:
        """See UpstreamStream: what the windows have not taken yet goes out as they open."""
        self.exchange = None
        if self._outbox is None or self._outbox.done:
            self.leave()

    def cancel(self) -> None:
        """See UpstreamStream."""
        if self.exchange is not None:
            self.exchange = None
            self._connection.codec.reset(self.stream_id, ErrorCode.CANCEL)
            self._connection.wants_to_write()
            self.leave()

    # --- the response in -----------------------------------------------------------------------------------------------------

    def take(self, event: DataReceived) -> None:
        """Body bytes."""
        self._owed += event.flow_bytes
        exchange = self.exchange
        if exchange is not None:
            exchange.on_response_data(event.data)
        if not self._paused:
            self.resume()
        if event.ended:
            self.end([])

    def begin_tunnel(self, event: ResponseReceived) -> None:
        """The upstream agreed to the upgrade, which everybody else knows as HTTP/1's 101."""
        exchange = self.exchange
        assert exchange is not None
        self.tunnel = True
        exchange.on_tunnel(ResponseHead(_SWITCHING, event.head.headers))
        if event.ended:
            exchange.on_response_end([])

    def end(self, trailers: Headers) -> None:
        """The response is complete; a request that is still being sent is not wanted any more. A tunnel's other direction goes on."""
        if self.tunnel:
            if self.exchange is not None:
                self.exchange.on_response_end([])
            return
        exchange, self.exchange = self.exchange, None
        self._connection.codec.reset(self.stream_id, ErrorCode.NO_ERROR)
        self.leave()
        if exchange is not None:
            exchange.on_response_end(trailers)

    def fail(self, failure: Failure, reason: str) -> None:
        """The stream ended before its response did."""
        exchange, self.exchange = self.exchange, None
        self.leave()
        if exchange is not None:
            exchange.on_upstream_failed(failure, reason)

    def leave(self) -> None:
        """The stream is over: its connection may carry another."""
        if self._owed:
            self.resume()
        self._connection.forget(self)

    def pause(self) -> None:
        """See UpstreamStream."""
        self._paused = True

    def resume(self) -> None:
        """See UpstreamStream."""
        self._paused = False
        if self._owed:
            owed, self._owed = self._owed, 0
            self._connection.codec.acknowledge(self.stream_id, owed)
            self._connection.wants_to_write()


class Http2Upstream:
    """One connection. Owns its codec, its streams and its deadlines. ``capacity`` is how many more streams it takes now."""

    __slots__ = (
        "_connecting",
        "_idle",
        "_most_requests",
        "_retired",
        "_writing",
        "capacity",
        "channel",
        "codec",
        "local",
        "pool",
        "requests",
        "streams",
    )

    channel: Channel

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.local = ""
        self.capacity = 0
        self.codec = Http2Client(limits=limits_of(pool.plane.generation.deadlines))
        if pool.limits.max_streams:
            self.codec.most_streams = pool.limits.max_streams
        self.streams: dict[int, Http2Stream] = {}
        self._most_requests = pool.limits.max_requests_per_connection
        self.requests = 0
        self._retired = False
        self._writing = False
        self._idle = Timer(self._idle_expired)
        self._connecting: ConnectDeadline | None = ConnectDeadline(pool, lambda: self.channel)

    # --- in the pool ---------------------------------------------------------------------------------------------------------

    def open(self, waiter: Waiter) -> None:
        """See UpstreamConnection."""
        self._idle.due = NEVER
        stream = Http2Stream(self, waiter, reused=self.requests > 0)
        self.requests += 1
        self.capacity -= 1
        if self.requests == self._most_requests:
            self._retired = True
            self.capacity = 0
        waiter.on_stream(stream)

    def retire(self) -> None:
        """See UpstreamConnection."""
        self._retired = True
        self.capacity = 0
        if not self.streams and self._connecting is None:
            self._close()

    def defer(self, stream: Http2Stream) -> None:
        """Keeps a stream whose head waits for the peer's settings."""
        stream.stream_id = -self.requests
        self.streams[stream.stream_id] = stream

    def _begin_deferred(self) -> None:
        for stream in [stream for number, stream in self.streams.items() if number < 0]:
            del self.streams[stream.stream_id]
            stream.begin()

    def forget(self, stream: Http2Stream) -> None:
        """A stream is over."""
        self.streams.pop(stream.stream_id, None)
        pool = self.pool
        self.capacity = 0 if self._retired or self.channel.closed else self.codec.capacity
        pool.on_stream_done(self)
        if self.streams or self.channel.closed:
            return
        if self._retired or self.codec.peer_left:
            self.write()
            self._close()
        else:
            lane = pool.plane.lane
            lane.wheel.set(self._idle, lane.now, pool.cluster.limits.idle_timeout_ms / 1000)

    def _idle_expired(self) -> None:
        if not self.streams:
            self.codec.goaway()
            self.write()
            self._close()

    def _close(self) -> None:
        self.capacity = 0
        self._idle.due = NEVER
        if not self.channel.closed:
            self.channel.close()
            self.pool.on_closed(self)

    # --- writing -------------------------------------------------------------------------------------------------------------

    def wants_to_write(self) -> None:
        """One write at the end of the round, whoever asks how often."""
        if not self._writing:
            self._writing = True
            self.pool.plane.lane.soon(self.write)

    def write(self) -> None:
        """Writes what the streams have gathered."""
        self._writing = False
        if not self.channel.closed:
            data = self.codec.data_to_send()
            if data:
                self.channel.send(data)

    # --- the sink ------------------------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """See Sink."""
        if isinstance(self.channel, TlsChannel) and self.channel.alpn not in _ALPN:
            self.channel.lose(TlsFailedError("the upstream does not speak HTTP/2"))
            return
        deadline, self._connecting = self._connecting, None
        if deadline is not None:
            deadline.timer.cancel()
        self.local = local_name(self.channel.sock)
        self.capacity = self.codec.capacity
        self.wants_to_write()
        limits = self.pool.limits
        if limits.ping_ms:
            Liveness(self, every_s=limits.ping_ms / 1000, within_s=(limits.ping_timeout_ms or limits.ping_ms) / 1000)
        self.pool.on_connected()
        self.pool.on_ready(self)

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        try:
            events = self.codec.receive_data(data, self.pool.plane.lane.now)
        except ProtocolError as error:
            self.write()
            self.lose(Failure.UPSTREAM_PROTOCOL, str(error))
            return
        touched: list[ExchangeSide] = []
        for event in events:
            self._take(event, touched)
        for exchange in touched:
            exchange.flush_downstream()
        self.wants_to_write()

    def _take(self, event: Event, touched: list[ExchangeSide]) -> None:
        if isinstance(event, (ResponseReceived, DataReceived, TrailersReceived, WindowOpened, StreamReset)):
            stream = self.streams.get(event.stream_id)
            if stream is None or stream.exchange is None:
                if type(event) is DataReceived:
                    self.codec.acknowledge(event.stream_id, event.flow_bytes)
                return
            touched.append(stream.exchange)
            self._pass_on(stream, event)
        elif type(event) is GoAwayReceived:
            self.capacity = 0
            if not self.streams:
                self._close()
        elif not self._retired and self._connecting is None:
            self.capacity = self.codec.capacity
            self._begin_deferred()

    def _pass_on(self, stream: Http2Stream, event: Event) -> None:
        if type(event) is ResponseReceived:
            self._pass_head(stream, event)
        elif type(event) is DataReceived:
            stream.take(event)
        elif type(event) is TrailersReceived:
            stream.end(event.trailers)
        elif type(event) is WindowOpened:
            stream.pump()
        elif type(event) is StreamReset:
            if event.reason:
                self.pool.load.broken += 1
            elif not event.unprocessed:
                self.pool.load.reset += 1
            reset = Failure.UPSTREAM_REFUSED if event.unprocessed else Failure.UPSTREAM_RESET
            stream.fail(Failure.UPSTREAM_PROTOCOL if event.reason else reset, _reset_reason(event))

    def _pass_head(self, stream: Http2Stream, event: ResponseReceived) -> None:
        exchange = stream.exchange
        assert exchange is not None
        if event.head.status < _OK:
            exchange.on_informational(event.head)
            return
        if stream.upgrade and event.head.status < _MULTIPLE:
            stream.begin_tunnel(event)
            return
        if event.ended:
            stream.exchange = None
            self.codec.reset(stream.stream_id, ErrorCode.NO_ERROR)
            stream.leave()
        exchange.on_response_head(
            event.head, dict(event.head.headers), content_length=event.content_length, end=event.ended
        )

    def on_eof(self) -> None:
        """See Sink."""
        self.pool.load.left += bool(self.streams)
        self.lose(Failure.UPSTREAM_CLOSED, "connection termination")

    def on_drained(self) -> None:
        """See Sink."""
        for stream in list(self.streams.values()):
            stream.pump()
            if stream.exchange is not None and not stream.full:
                stream.exchange.on_upstream_drained()
        self.wants_to_write()

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        if self._connecting is not None:
            self._connecting.timer.cancel()
            self._connecting = None
            self.pool.on_connect_failed(self, error)
            return
        self.capacity = 0
        self._idle.due = NEVER
        self.pool.load.left += bool(self.streams)
        self._fail_streams(Failure.UPSTREAM_CLOSED, error.strerror or str(error))
        self.pool.on_closed(self)

    def lose(self, failure: Failure, reason: str) -> None:
        """The connection is over, and with it every stream on it."""
        self.pool.load.broken += failure is Failure.UPSTREAM_PROTOCOL
        self._close()
        self._fail_streams(failure, reason)

    def _fail_streams(self, failure: Failure, reason: str) -> None:
        for stream in list(self.streams.values()):
            stream.fail(failure, reason)


def _reset_reason(event: StreamReset) -> str:
    try:
        name = ErrorCode(event.code).name.lower()
    except ValueError:
        name = str(event.code)
    return f"stream reset: {name}"
