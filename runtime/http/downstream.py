"""The downstream machine of HTTP/1: requests off one connection, one exchange at a time, replies back in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers, Peer, RequestHead
from runtime.http.exchange import Exchange
from runtime.http.lines import lines
from runtime.http.replies import Refusal, refuse
from runtime.http.websocket import WEBSOCKET, Farewell, accepted
from runtime.http1 import NEED_DATA, PAUSED, EndOfMessage, Http1Server, Limits, ProtocolError, Reason
from runtime.http1.spelling import SpellingServer, spelled_lines
from runtime.lane.channel import Channel
from runtime.lane.wheel import NEVER, Timer
from runtime.plane import Plane
from runtime.policy_change import CLOSE, KEEP
from runtime.telemetry import Failure

if TYPE_CHECKING:
    from runtime.accepting import Accepted
    from runtime.generation import Generation

DRAIN_IDLE_S = 1.0
LINGER_S = 1.0
"""After a last reply the peer may still be sending: reading on for a moment keeps the kernel from resetting the reply away."""


class Http1Downstream:
    """One connection. Owns its codec, the exchange in flight, the bytes gathered since the last flush, and one timer that is by turns the
    deadline of a head, of an idle stream, of an idle connection, and of lingering."""

    __slots__ = (
        "_accepted",
        "_codec",
        "_draining",
        "_exchange",
        "_farewell",
        "_lines",
        "_lingering",
        "_out",
        "_plane",
        "_reading_head",
        "_timer",
        "_tunnel",
        "certificate",
        "channel",
        "complete",
        "content_length",
        "peer",
        "protocol",
        "upgrade",
    )

    def __init__(self, plane: Plane, channel: Channel, accepted: Accepted) -> None:
        deadlines = accepted.generation.deadlines
        self.channel = channel
        self.peer: Peer = accepted.peer
        self.certificate = accepted.certificate
        self.protocol = "HTTP/1.1"
        self.content_length: int | None = None
        self.complete = True
        self.upgrade = b""
        self._plane = plane
        self._accepted = accepted
        spelling = accepted.generation.prepared.proxy.headers.spelling
        self._lines = spelled_lines if spelling else lines
        self._codec = (SpellingServer if spelling else Http1Server)(
            scheme="https" if accepted.peer.tls and not accepted.mesh else "http",
            path_profile=accepted.generation.path_profile,
            limits=Limits(max_head_bytes=deadlines.max_head_bytes, max_headers=deadlines.max_headers),
        )
        self._exchange: Exchange | None = None
        self._out: list[bytes] = []
        self._draining = plane.draining
        self._lingering = False
        self._tunnel = False
        self._farewell: Farewell | None = None
        self._reading_head = True
        self._timer = Timer(self._expired)
        self._set_timer(deadlines.head_ms)
        plane.connections.add(self)

    def _set_timer(self, after_ms: int) -> None:
        lane = self._plane.lane
        if after_ms:
            lane.wheel.set(self._timer, lane.now, after_ms / 1000)
        else:
            self._timer.due = NEVER

    @property
    def accepted(self) -> Accepted:
        """How the connection came in."""
        return self._accepted

    @property
    def connection_peer(self) -> Peer:
        """See Downstream."""
        return self._accepted.peer

    # --- requests in ---------------------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """See Sink; the connection was open before this machine took it."""

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        if self._lingering:
            return
        try:
            event = self._codec.receive_data(data)
        except ProtocolError as error:
            self._refuse(error)
            return
        self._take(event)

    def _take(self, event: object) -> None:
        """Works off what the codec says until it waits: for bytes, or for the exchange to end."""
        codec = self._codec
        while True:
            if type(event) is RequestHead:
                self._begin(event)
                if codec.complete:
                    # The rest of a pipeline waits for the reply; it is bounded by not reading on.
                    if codec.buffered:
                        self.channel.pause()
                    return
                if codec.expect_continue and not codec.buffered:
                    self._invite_body()
            elif event is NEED_DATA:
                break
            elif event is PAUSED:
                self.channel.pause()
                return
            elif self._exchange is None:
                return
            elif type(event) is bytes:
                if self._tunnel:
                    self._exchange.on_request_data(event)
                    break
                self._exchange.on_request_data(event)
                if codec.complete:
                    self._end_request(codec.trailers)
                    return
            elif isinstance(event, EndOfMessage):
                self._end_request(event.trailers)
                return
            try:
                event = codec.next_event()
            except ProtocolError as error:
                self._refuse(error)
                return
        exchange = self._exchange
        if exchange is not None:
            exchange.flush_upstream()
        elif not self._reading_head and codec.buffered:
            self._reading_head = True
            self._set_timer(self._accepted.generation.deadlines.head_ms)

    def _begin(self, head: RequestHead) -> None:
        codec = self._codec
        plane = self._plane
        self._reading_head = False
        self.complete = codec.complete
        self.content_length = codec.content_length
        self.upgrade = codec.upgrade
        self.protocol = codec.http_version
        accepted = self._accepted
        generation, chain = accepted.generation, accepted.chain
        if generation is not plane.generation:
            generation, chain = accepted.pinned(plane.generation)
        timer = self._timer
        timer.due = due = plane.lane.now + generation.stream_idle_s
        if timer.slot > due + generation.stream_idle_slack_s:
            plane.lane.wheel.set(timer, plane.lane.now, generation.stream_idle_s)
        self._exchange = exchange = Exchange(plane, generation, chain, self, head, codec.fields)
        exchange.start()

    def _invite_body(self) -> None:
        """Meets the expectation of a client that waits for 100 before its body. An upstream is not asked: one that does not answer to
        expectations would keep the client waiting."""
        exchange = self._exchange
        if exchange is not None and not exchange.code:
            self.send_informational(100, [])
            self.flush()

    def _end_request(self, trailers: Headers) -> None:
        self.complete = True
        exchange = self._exchange
        if exchange is not None:
            exchange.on_request_end(trailers)
            exchange.flush_upstream()

    def _refuse(self, error: ProtocolError) -> None:
        """The peer broke the protocol: one reply where none has begun, then the end of the connection."""
        exchange = self._exchange
        if exchange is not None:
            exchange.on_downstream_failed(Failure.DOWNSTREAM_PROTOCOL)
            return
        refusal = Refusal.of(error)
        self._plane.reporter.refused(self._accepted, refusal, self._plane.lane.now)
        if error.reason is not Reason.TRUNCATED:
            self.channel.send(refuse(refusal, self._accepted.chain.rules.own_server))
        self._linger()

    def on_eof(self) -> None:
        """See Sink. As in Envoy and nginx a client that closes its side has left, also where it waits for a reply."""
        if self._tunnel and self._exchange is not None:
            self._exchange.on_request_end([])
            return
        if self._exchange is None or self._lingering:
            self.close()
            return
        exchange, self._exchange = self._exchange, None
        self.close()
        exchange.on_downstream_failed(Failure.DOWNSTREAM_CLOSED)

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        del error
        self._timer.end()
        self._plane.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_downstream_failed(Failure.DOWNSTREAM_CLOSED)

    def on_drained(self) -> None:
        """See Sink."""
        if self._exchange is not None:
            self._touch()
            self._exchange.on_downstream_drained()

    def _touch(self) -> None:
        """The stream moved: its idle deadline starts anew."""
        if not self._lingering:
            self._timer.due = self._plane.lane.now + self._accepted.generation.stream_idle_s

    # --- replies out ---------------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """See Downstream."""
        return self.channel.full

    def send_informational(self, status: int, headers: Headers) -> None:
        """See Downstream."""
        self._out.append(self._codec.send_informational(status, headers))

    def send_head(self, status: int, headers: Headers, *, content_length: int | None, end: bool) -> None:
        """See Downstream."""
        codec = self._codec
        if self._draining or not self.complete:
            # Also where the reply overtakes the request: what is left of it cannot be told from a next one cheaply.
            codec.keep_alive = False
        self._out.append(codec.send_head_lines(status, self._lines(headers), content_length=content_length))
        if end:
            self._out.append(codec.send_end())

    def send_whole(self, status: int, headers: Headers, content_length: int | None, body: bytes) -> None:
        """See Downstream."""
        codec = self._codec
        if self._draining or not self.complete:
            codec.keep_alive = False
        if self._out:
            self.flush()
        head = codec.send_head_lines(status, self._lines(headers), content_length=content_length)
        if body:
            head += codec.send_data(body)
        if content_length is None:
            head += codec.send_end()
        self.channel.send(head)

    def send_data(self, data: bytes) -> None:
        """See Downstream."""
        if not self._tunnel:
            self._out.append(self._codec.send_data(data))
        elif self._farewell is None or self._farewell.passes(data):
            self._out.append(data)

    def send_end(self, trailers: Headers) -> None:
        """See Downstream."""
        if self._tunnel:
            self.flush()
            self.channel.finish()
            return
        end = self._codec.send_end(trailers)
        if end:
            self._out.append(end)

    def start_tunnel(self, status: int, headers: Headers) -> None:
        """See Downstream."""
        if self.upgrade == WEBSOCKET:
            self._farewell = Farewell()
            headers = accepted(headers, self._codec.fields)
        self._out.append(self._codec.start_tunnel(status, headers))
        self._tunnel = True
        self.complete = False
        self.flush()
        self._plane.lane.soon(self._read_on)

    def flush(self) -> None:
        """See Downstream."""
        out = self._out
        if out:
            self._touch()
            self.channel.send(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def pause(self) -> None:
        """See Downstream."""
        self.channel.pause()

    def resume(self) -> None:
        """See Downstream."""
        self.channel.resume()

    def abort(self) -> None:
        """See Downstream and Source."""
        self._exchange = None
        self._out.clear()
        self._timer.end()
        self._plane.connections.discard(self)
        self.channel.abort()

    def exchange_done(self) -> None:
        """See Downstream."""
        self._exchange = None
        if self._out:
            self.flush()
        codec = self._codec
        if self.channel.closed:
            return
        if self._tunnel or not self.complete or not codec.keep_alive or self._draining or self._plane.draining:
            self._linger()
            return
        codec.start_next()
        timer = self._timer
        now = self._plane.lane.now
        generation = self._accepted.generation
        timer.due = due = now + generation.idle_s
        if timer.slot > due + generation.idle_slack_s:
            self._plane.lane.wheel.set(timer, now, generation.idle_s)
        if codec.buffered:
            self._plane.lane.soon(self._read_on)
        elif not self.channel.reading:
            self.channel.resume()

    def _read_on(self) -> None:
        """The next message may have arrived already; a call of its own, so that a long pipeline does not become deep recursion."""
        if self.channel.closed or self._lingering:
            return
        self.channel.resume()
        try:
            event = self._codec.next_event()
        except ProtocolError as error:
            self._refuse(error)
            return
        self._take(event)

    # --- the connection's life -----------------------------------------------------------------------------------------------

    def _linger(self) -> None:
        """Ends after what is queued; until the peer has closed, or LINGER_S, its bytes are read and thrown away."""
        self._lingering = True
        self._plane.connections.discard(self)
        lane = self._plane.lane
        lane.wheel.set(self._timer, lane.now, LINGER_S if self.channel.drained else 30.0)
        self.channel.finish()
        self.channel.resume()

    def close(self) -> None:
        """Closes now; nothing is in flight."""
        self._timer.end()
        self._plane.connections.discard(self)
        self.channel.close()

    def _expired(self) -> None:
        if self._exchange is not None:
            self._exchange.on_idle()
        elif self._reading_head and self._codec.buffered and not self._lingering:
            refusal = Refusal.late()
            self._plane.reporter.refused(self._accepted, refusal, self._plane.lane.now)
            self.channel.send(refuse(refusal, self._accepted.chain.rules.own_server))
            self._linger()
        else:
            self.close()

    def rebind(self, generation: Generation) -> None:
        """See Rebindable."""
        chain = self._accepted.rebound(generation)
        if chain is None:
            self.drain()
        else:
            self._accepted.chain = chain
            self._accepted.generation = generation
            if self._accepted.vet(chain):
                self._reconsider(generation, generation.prepared.proxy.on_policy_change)

    def _reconsider(self, generation: Generation, mode: str) -> None:
        """The policies over this connection are others now; a request in flight is none of their business, a tunnel is."""
        exchange = self._exchange
        if mode != KEEP and exchange is not None:
            exchange.reconsider(generation, self._accepted.chain, close=mode == CLOSE)
        if mode == CLOSE and not self.channel.closed:
            self.drain()

    @property
    def certified_until(self) -> float:
        """See Rebindable."""
        return self._accepted.certified_until

    def say_farewell(self) -> bool:
        """See Rebindable."""
        frame = self._farewell.say() if self._farewell is not None else b""
        if frame:
            self.channel.send(frame)
        return bool(frame)

    def drain(self) -> None:
        """See Rebindable: after the reply in flight, which says close. An idle connection is left for DRAIN_IDLE_S: its next request may be on
        the way already, and closing would lose it."""
        self._draining = True
        if self._exchange is None and not self._lingering:
            lane = self._plane.lane
            lane.wheel.set(self._timer, lane.now, DRAIN_IDLE_S)
