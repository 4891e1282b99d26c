"""The downstream machine of HTTP/2: many exchanges on one connection, each on a stream of its own.

The connection owns the codec and the socket; a stream owns what its reply still has to send. Writing is gathered: every flush of a round only marks
the connection, and one send at the round's end carries what all its streams said. Back-pressure has two halves. Towards the client: reply
bytes that the windows or the socket do not take stay in their stream, which is then ``full``. From the client: a paused stream
withholds its acknowledgements, so the sender runs into the window, while the other streams go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers, Peer
from runtime.http.exchange import Exchange
from runtime.http.websocket import WEBSOCKET, Farewell
from runtime.http2.error import ErrorCode, ProtocolError
from runtime.http2.events import DataReceived, Event, RequestReceived, StreamReset, TrailersReceived, WindowOpened
from runtime.http2.outbox import Outbox
from runtime.http2.server import Http2Server
from runtime.http2.settings import limits_of
from runtime.lane.channel import Channel
from runtime.lane.wheel import NEVER, Timer
from runtime.plane import Plane
from runtime.policy_change import CLOSE, KEEP
from runtime.telemetry import Failure

if TYPE_CHECKING:
    from runtime.accepting import Accepted
    from runtime.generation import Generation

DRAIN_GRACE_S = 1.0
"""How long a draining connection without streams waits for the client to hear of it."""
LINGER_S = 1.0
"""How long bytes are read and thrown away after the last write, so that the kernel does not reset it away."""
UNSENT_LINGER_S = 30.0
_SWITCHING, _OK = 101, 200


class DownstreamStream:
    """One request's downstream side. Owns its reply's unsent bytes, its owed acknowledgements, and its idle deadline.

    Extended CONNECT (RFC 8441) is what HTTP/1 calls an upgrade, and is decided on as such: a GET with ``upgrade``. What the client sends before
    the upstream has agreed is held in ``_early``, at most a window of it.
    """

    __slots__ = (
        "_connection",
        "_early",
        "_farewell",
        "_owed",
        "_paused",
        "_timer",
        "certificate",
        "complete",
        "content_length",
        "exchange",
        "outbox",
        "peer",
        "protocol",
        "stream_id",
        "upgrade",
    )

    def __init__(self, connection: Http2Downstream, request: RequestReceived) -> None:
        self._connection = connection
        self.stream_id = request.stream_id
        self.peer: Peer = connection.accepted.peer
        self.certificate = connection.accepted.certificate
        self.protocol = "HTTP/2"
        self.content_length = request.content_length
        self.upgrade = request.protocol
        self.complete = request.ended or bool(self.upgrade)
        self._early: list[DataReceived] | None = [] if self.upgrade else None
        if self._early is not None and request.ended:
            self._early.append(DataReceived(request.stream_id, b"", 0, ended=True))
        self._farewell: Farewell | None = None
        self.exchange: Exchange | None = None
        self.outbox = Outbox(connection.codec, request.stream_id)
        self._owed = 0
        self._paused = False
        self._timer = Timer(self._expired)

    # --- the request in ------------------------------------------------------------------------------------------------------

    @property
    def connection_peer(self) -> Peer:
        """See Downstream."""
        return self._connection.accepted.peer

    def take(self, event: DataReceived) -> None:
        """Body bytes, which are acknowledged at once where nobody is slow."""
        exchange = self.exchange
        if exchange is None:
            self._connection.codec.acknowledge(event.stream_id, event.flow_bytes)
            return
        self._owed += event.flow_bytes
        if self._early is not None:
            self._early.append(event)
            return
        exchange.on_request_data(event.data)
        if not self._paused:
            self.resume()
        if event.ended:
            self.end([])

    def end(self, trailers: Headers) -> None:
        """The request is complete."""
        if self._early is not None:
            self._early.append(DataReceived(self.stream_id, b"", 0, ended=True))
            return
        self.complete = True
        if self.exchange is not None:
            self.exchange.on_request_end(trailers)

    def lost(self, failure: Failure) -> None:
        """The stream is gone: reset by the client, or with its connection."""
        self._leave()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_downstream_failed(failure)

    def pause(self) -> None:
        """See Downstream."""
        self._paused = True

    def resume(self) -> None:
        """See Downstream."""
        self._paused = False
        if self._owed:
            owed, self._owed = self._owed, 0
            self._connection.codec.acknowledge(self.stream_id, owed)
            self._connection.wants_to_write()

    # --- the reply out -------------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """See Downstream."""
        return self.outbox.full or self._connection.channel.full

    def send_informational(self, status: int, headers: Headers) -> None:
        """See Downstream."""
        if self._is_open():
            self._connection.codec.send_head(self.stream_id, status, headers, content_length=None, end=False)

    def send_head(self, status: int, headers: Headers, *, content_length: int | None, end: bool) -> None:
        """See Downstream."""
        if self._is_open():
            self._connection.codec.send_head(self.stream_id, status, headers, content_length=content_length, end=end)
        if end:
            self.outbox.done = True

    def send_whole(self, status: int, headers: Headers, content_length: int | None, body: bytes) -> None:
        """See Downstream."""
        self.send_head(status, headers, content_length=content_length, end=not body)
        if body:
            self.send_data(body)
            self.send_end([])
        self.flush()

    def send_data(self, data: bytes) -> None:
        """See Downstream."""
        if self._farewell is not None and not self._farewell.passes(data):
            return
        self.outbox.add(data)

    def send_end(self, trailers: Headers) -> None:
        """See Downstream."""
        self.outbox.end(trailers)

    def start_tunnel(self, status: int, headers: Headers) -> None:
        """See Downstream: CONNECT's tunnel is the stream's DATA both ways (RFC 9113 section 8.5), and a 200 begins it (RFC 8441)."""
        self.complete = False
        if self.upgrade == WEBSOCKET:
            self._farewell = Farewell()
        self.send_head(_OK if status == _SWITCHING else status, headers, content_length=None, end=False)
        self.flush()
        if self._early is not None:
            self._connection.plane.lane.soon(self._pass_early)

    def _pass_early(self) -> None:
        """What came before the tunnel was there, each piece as if it came now."""
        early, self._early = self._early, None
        for event in early or ():
            self._owed -= event.flow_bytes
            self.take(event)
        if self.exchange is not None:
            self.exchange.flush_upstream()

    def say_farewell(self) -> bool:
        """See Rebindable, for this stream."""
        frame = self._farewell.say() if self._farewell is not None else b""
        if frame:
            self.outbox.add(frame)
            self._connection.wants_to_write()
        return bool(frame)

    def flush(self) -> None:
        """See Downstream."""
        self.touch()
        self._connection.wants_to_write()

    def exchange_done(self) -> None:
        """See Downstream. The stream itself stays until its reply is out."""
        self.exchange = None
        self.flush()
        if self._owed:
            self.resume()
        self.settle()

    def abort(self) -> None:
        """See Downstream."""
        self.exchange = None
        self._connection.codec.reset(self.stream_id, ErrorCode.INTERNAL_ERROR)
        self._connection.wants_to_write()
        self._leave()

    def pump(self) -> None:
        """Moves what the windows and the socket take now; leaves once everything is out."""
        was_full = self.outbox.full
        if not self._connection.channel.full:
            self.outbox.pump()
        self.settle()
        if was_full and not self.full and self.exchange is not None:
            self.touch()
            self.exchange.on_downstream_drained()

    def settle(self) -> None:
        """Leaves the connection where both the exchange and the reply are over."""
        if self.exchange is None and (self.outbox.done or not self._is_open()):
            # A client that is still sending is told that the reply was all (RFC 9113 section 8.1).
            self._connection.codec.finish(self.stream_id)
            self._leave()

    # --- time ----------------------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """The stream moved: its idle deadline starts anew."""
        idle_ms = self._connection.accepted.generation.deadlines.stream_idle_ms
        if idle_ms:
            lane = self._connection.plane.lane
            lane.wheel.set(self._timer, lane.now, idle_ms / 1000)

    def _expired(self) -> None:
        if self.exchange is not None:
            self.exchange.on_idle()
        else:
            self.abort()
        self._connection.write()

    def _is_open(self) -> bool:
        return self._connection.codec.is_open(self.stream_id)

    def _leave(self) -> None:
        self._timer.end()
        self._connection.forget(self)


class Http2Downstream:
    """One connection. Owns its codec, its streams, and one timer that is by turns the deadline of the preface, of idleness and of a drain."""

    __slots__ = (
        "_draining",
        "_lingering",
        "_scheme",
        "_streams",
        "_timer",
        "_writing",
        "accepted",
        "channel",
        "codec",
        "plane",
    )

    def __init__(self, plane: Plane, channel: Channel, accepted: Accepted) -> None:
        generation = accepted.generation
        self.plane = plane
        self.channel = channel
        self.accepted = accepted
        self.codec = Http2Server(
            path_profile=generation.path_profile, limits=limits_of(generation.deadlines), extended_connect=True
        )
        # What the client says about its scheme is not believed: the connection knows.
        self._scheme = "https" if accepted.peer.tls and not accepted.mesh else "http"
        self._streams: dict[int, DownstreamStream] = {}
        self._draining = False
        self._lingering = False
        self._writing = False
        self._timer = Timer(self._expired)
        self._set_timer(generation.deadlines.head_ms)
        plane.connections.add(self)
        self.wants_to_write()

    # --- the sink ------------------------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """See Sink; the connection was open before this machine took it."""

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        if self._lingering:
            return
        try:
            events = self.codec.receive_data(data, self.plane.lane.now)
        except ProtocolError as error:
            self._broken(error)
            return
        touched: list[DownstreamStream] = []
        for event in events:
            self._take(event, touched)
        for stream in touched:
            if stream.exchange is not None:
                stream.exchange.flush_upstream()
        self._rest()
        self.wants_to_write()

    def _take(self, event: Event, touched: list[DownstreamStream]) -> None:
        if type(event) is RequestReceived:
            self._begin(event)
        elif type(event) is DataReceived:
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self.codec.acknowledge(event.stream_id, event.flow_bytes)
                return
            stream.take(event)
            stream.touch()
            touched.append(stream)
        elif type(event) is WindowOpened:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.pump()
        elif type(event) is TrailersReceived:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.end(event.trailers)
                touched.append(stream)
        elif type(event) is StreamReset:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.lost(Failure.DOWNSTREAM_PROTOCOL if event.reason else Failure.DOWNSTREAM_RESET)

    def _begin(self, request: RequestReceived) -> None:
        plane = self.plane
        if not self.codec.is_open(request.stream_id) and not request.ended:
            return
        head = request.head
        head.scheme = self._scheme
        if request.protocol:
            head.method = "GET"
        stream = DownstreamStream(self, request)
        self._streams[request.stream_id] = stream
        self._timer.due = NEVER
        stream.touch()
        generation, chain = self.accepted.pinned(plane.generation)
        fields = dict(head.headers)
        expects = not request.ended and fields.pop(b"expect", b"").lower() == b"100-continue"
        if expects:
            head.headers = [pair for pair in head.headers if pair[0] != b"expect"]
        stream.exchange = exchange = Exchange(plane, generation, chain, stream, head, fields)
        exchange.start()
        if expects and not exchange.code:
            # As over HTTP/1: the hop invites the body, since not every upstream would.
            stream.send_informational(100, [])
            self.wants_to_write()

    def on_eof(self) -> None:
        """See Sink. A client that closes its side has left, also where it waits for replies."""
        self.close()
        self._lose_streams(Failure.DOWNSTREAM_CLOSED)

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        del error
        self._timer.end()
        self.plane.connections.discard(self)
        self._lose_streams(Failure.DOWNSTREAM_CLOSED)

    def on_drained(self) -> None:
        """See Sink."""
        for stream in list(self._streams.values()):
            stream.pump()
            if stream.exchange is not None and not stream.full:
                stream.exchange.on_downstream_drained()
        self.wants_to_write()

    # --- writing -------------------------------------------------------------------------------------------------------------

    def wants_to_write(self) -> None:
        """One write at the end of the round, whoever asks how often."""
        if not self._writing:
            self._writing = True
            self.plane.lane.soon(self.write)

    def write(self) -> None:
        """Writes what the streams have gathered."""
        self._writing = False
        if self.channel.closed:
            return
        data = self.codec.data_to_send()
        if data:
            self.channel.send(data)
        if self._draining and self.codec.drained and not self._lingering:
            self._finish()

    # --- the connection's life -----------------------------------------------------------------------------------------------

    def forget(self, stream: DownstreamStream) -> None:
        """The stream is over."""
        self._streams.pop(stream.stream_id, None)
        if self.plane.draining:
            self.drain()
        if not self._streams:
            self._rest()

    def _rest(self) -> None:
        """Starts the deadline of a connection on which nothing is open."""
        if self._streams or self.channel.closed or self._lingering:
            return
        if self._draining or self.plane.draining:
            lane = self.plane.lane
            lane.wheel.set(self._timer, lane.now, DRAIN_GRACE_S)
        elif self._timer.due == NEVER:
            self._set_timer(self.accepted.generation.deadlines.idle_ms)

    def _set_timer(self, after_ms: int) -> None:
        lane = self.plane.lane
        if after_ms:
            lane.wheel.set(self._timer, lane.now, after_ms / 1000)
        else:
            self._timer.due = NEVER

    def _expired(self) -> None:
        if self._lingering:
            self.close()
        elif self.plane.draining and not self._draining:
            self.drain()
        elif not self._streams:
            self.codec.goaway()
            self._finish()

    def _finish(self) -> None:
        """Ends after what is queued; until the client has closed, or LINGER_S, its bytes are read and thrown away."""
        if self._lingering:
            return
        self._lingering = True
        self.write()
        self.plane.connections.discard(self)
        lane = self.plane.lane
        lane.wheel.set(self._timer, lane.now, LINGER_S if self.channel.drained else UNSENT_LINGER_S)
        self.channel.finish()
        self.channel.resume()

    def _broken(self, error: ProtocolError) -> None:
        """The client broke the connection: GOAWAY says why, and everything on it is over."""
        self.plane.instruments.add("weft_protocol_error_total", error.reason.value)
        self._lose_streams(Failure.DOWNSTREAM_PROTOCOL)
        self._finish()

    def _lose_streams(self, failure: Failure) -> None:
        for stream in list(self._streams.values()):
            stream.lost(failure)

    def close(self) -> None:
        """Closes now."""
        self._timer.due = NEVER
        self.plane.connections.discard(self)
        self.channel.close()

    def abort(self) -> None:
        """See Source and Rebindable."""
        self._timer.due = NEVER
        self.plane.connections.discard(self)
        self.channel.abort()
        self._lose_streams(Failure.DOWNSTREAM_CLOSED)

    def rebind(self, generation: Generation) -> None:
        """See Rebindable."""
        chain = self.accepted.rebound(generation)
        if chain is None:
            self.drain()
        else:
            self.accepted.chain = chain
            self.accepted.generation = generation
            if self.accepted.vet(chain):
                self._reconsider(generation, generation.prepared.proxy.on_policy_change)

    def _reconsider(self, generation: Generation, mode: str) -> None:
        """The policies over this connection are others now; a request in flight is none of their business, a tunnel is."""
        for stream in list(self._streams.values()) if mode != KEEP else ():
            if stream.exchange is not None:
                stream.exchange.reconsider(generation, self.accepted.chain, close=mode == CLOSE)
        if mode == CLOSE and not self.channel.closed:
            self.drain()

    @property
    def certified_until(self) -> float:
        """See Rebindable."""
        return self.accepted.certified_until

    def say_farewell(self) -> bool:
        """See Rebindable."""
        told = [stream.say_farewell() for stream in list(self._streams.values())]
        return any(told)

    def drain(self) -> None:
        """See Rebindable: the client is told, and no stream that it has opened by then is lost."""
        if not self._draining:
            self._draining = True
            self.codec.drain()
            self.wants_to_write()
            self._rest()
