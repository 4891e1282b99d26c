"""The downstream machine of a TCP chain: bytes to one upstream and back, half-close passed on, one idle deadline for both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.head import Headers, Peer, ResponseHead
from runtime.http.rules import Fields
from runtime.http.stream import EndpointPool, UpstreamStream
from runtime.http.trying import none_healthy
from runtime.lane.channel import Channel
from runtime.lane.wheel import Timer
from runtime.plane import Plane
from runtime.policy_change import CLOSE, KEEP, connection_allowed
from runtime.tcp.tunnel import Tunneling, is_agreement
from runtime.telemetry import REPLIES, Failure
from snapshot.decision import Decision
from snapshot.resolve import resolve
from snapshot.section import Endpoint, OriginalDestination, TcpChain

if TYPE_CHECKING:
    from policies.traffic import Destination
    from runtime.accepting import Accepted
    from runtime.balance.cluster import LiveCluster
    from runtime.generation import Generation
    from snapshot.section import PoolLimits


class TcpRelay:
    """One downstream connection and, once connected, its upstream. Owns the idle timer and the bytes that came before the upstream was there."""

    __slots__ = (
        "_accepted",
        "_age",
        "_answering",
        "_asking",
        "_ended",
        "_half_closed",
        "_idle_s",
        "_pending",
        "_plane",
        "_pool",
        "_timer",
        "_tunnel",
        "_upstream",
        "bytes_received",
        "bytes_sent",
        "channel",
        "cluster",
        "endpoint",
        "flags",
        "generation",
        "started",
        "transport_failure",
    )

    def __init__(self, plane: Plane, channel: Channel, accepted: Accepted) -> None:
        self.channel = channel
        self.generation: Generation = accepted.generation
        self.started = plane.lane.now
        self.flags = ""
        self.transport_failure = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.cluster: LiveCluster | None = None
        self.endpoint: Endpoint | None = None
        self._plane = plane
        self._accepted = accepted
        self._pool: EndpointPool | None = None
        self._upstream: UpstreamStream | None = None
        self._tunnel: Tunneling | None = None
        self._asking: UpstreamStream | None = None
        self._pending: list[bytes] = []
        self._half_closed = False
        self._ended = False
        self._age: Timer | None = None
        self._answering: Timer | None = None
        self._idle_s = self.generation.deadlines.idle_ms / 1000
        self._timer = Timer(self._expired)
        plane.connections.add(self)
        plane.lane.wheel.set(self._timer, plane.lane.now, self._idle_s)
        channel.pause()
        plane.lane.soon(self._connect)

    @property
    def client(self) -> Peer:
        """See FromClient."""
        return self._accepted.peer

    @property
    def accepted(self) -> Accepted:
        """How the connection came in."""
        return self._accepted

    def _connect(self) -> None:
        """Decides once, when the connection opens; TCP has no later point at which a decision could change."""
        if self._ended:
            return
        prepared = self._accepted.chain.prepared
        network = prepared.chain.network
        assert isinstance(network, TcpChain)
        peer = self._accepted.peer
        if not connection_allowed(prepared, peer):
            self._end("", abort=True)
            return
        decision = Decision(
            destinations=network.destinations, total_weight=sum(one.weight for one in network.destinations)
        )
        action = resolve(decision, self.generation, self.started, self._plane.draws, None, peer)
        endpoint = action.endpoint or self._going_to(action.destination)
        if action.destination is None or endpoint is None:
            reply = action.reply
            if action.destination is not None and reply is not None:
                none_healthy(self._plane, action.destination.cluster)
            self._end(reply.flag if reply is not None and reply.flag else "NR", abort=True)
            return
        self.endpoint = endpoint
        self.cluster = self.generation.clusters[action.destination.cluster]
        self._bound(self.cluster.section.limits)
        tunnel = self.cluster.section.tunnel
        self._pool = self.cluster.pool(endpoint, "", tunnel=tunnel is None)
        if tunnel is not None:
            self._tunnel = Tunneling(tunnel, framed=self.cluster.section.protocol == "http2")
        self._pool.acquire(self)

    def _going_to(self, destination: Destination | None) -> Endpoint | None:
        """Where an intercepted connection was going, for a cluster that means just that."""
        peer = self._accepted.peer
        cluster = self.generation.prepared.clusters.get(destination.cluster) if destination is not None else None
        if cluster is None or not peer.intercepted or not isinstance(cluster.endpoints, OriginalDestination):
            return None
        return Endpoint(peer.destination_ip, peer.destination_port)

    def _bound(self, limits: PoolLimits) -> None:
        """What the cluster says of connections: how long they may be idle, and how long they may last."""
        if limits.tcp_idle_ms:
            self._idle_s = limits.tcp_idle_ms / 1000
            self._plane.lane.wheel.set(self._timer, self._plane.lane.now, self._idle_s)
        if limits.max_duration_ms:
            self._age = Timer(lambda: self._end("DT", abort=True))
            self._plane.lane.wheel.set(self._age, self._plane.lane.now, limits.max_duration_ms / 1000)

    # --- the upstream --------------------------------------------------------------------------------------------------------

    def on_stream(self, stream: UpstreamStream) -> None:
        """See Waiter."""
        if self._tunnel is not None and self._asking is None:
            self._asking = stream
            self._bound_answer()
            self._tunnel.ask(stream)
            return
        self._upstream, self._asking = stream, None
        if self.cluster is not None and self.cluster.watch is not None:
            self.cluster.watch.on_connected(self.endpoint)
        for data in self._pending:
            stream.send_data(data)
        self._pending.clear()
        stream.flush()
        self._plane.reporter.relay_opened(self)
        self.channel.resume()

    def on_unavailable(self, failure: Failure, reason: str) -> None:
        """See Waiter."""
        self.transport_failure = reason
        if self.cluster is not None and self.cluster.watch is not None:
            self.cluster.watch.on_failure(self.endpoint, failure)
        self._end(REPLIES[failure].flag, abort=True)

    def on_response_data(self, data: bytes) -> None:
        """See ExchangeSide."""
        self.bytes_sent += len(data)
        self._touch()
        self.channel.send(data)
        if self.channel.full and self._upstream is not None:
            self._upstream.pause()

    def on_response_end(self, trailers: Headers) -> None:
        """See ExchangeSide."""
        del trailers
        if self._tunnel is not None and self._tunnel.framed:
            # A message is over in both directions with its answer, and its stream is somebody else's by now.
            self._upstream = self._pool = None
            self._end("", abort=False)
            return
        self.channel.finish()
        self._end_side()

    def on_upstream_failed(self, failure: Failure, reason: str) -> None:
        """See ExchangeSide."""
        self._upstream = self._asking = None
        self.transport_failure = reason
        self._end(REPLIES[failure].flag, abort=True)

    def on_upstream_drained(self) -> None:
        """See ExchangeSide."""
        self.channel.resume()

    def _bound_answer(self) -> None:
        """Who is asked for a tunnel answers in the time that a connection may take."""
        assert self.cluster is not None
        lane = self._plane.lane
        self._answering = Timer(lambda: self._end("UF", abort=True))
        lane.wheel.set(self._answering, lane.now, self.cluster.section.limits.connect_timeout_ms / 1000)

    def _agreed(self) -> None:
        """The tunnel is there: from here on its stream is the upstream."""
        asking = self._asking
        if asking is not None and self._answering is not None:
            self._answering.end()
            self.on_stream(asking)

    def on_tunnel(self, head: ResponseHead) -> None:
        """See ExchangeSide: the proxy on the way has agreed."""
        del head
        self._agreed()

    def on_informational(self, head: ResponseHead) -> None:
        """See ExchangeSide; not on this side."""

    def on_response_head(self, head: ResponseHead, fields: Fields, *, content_length: int | None, end: bool) -> None:
        """See ExchangeSide: the answer of the proxy on the way, whose body is what comes back where it agrees."""
        del fields, content_length
        if end or not is_agreement(head.status):
            self._refused(head.status)
        else:
            self._agreed()

    def on_response(self, head: ResponseHead, fields: Fields, content_length: int | None, body: bytes) -> None:
        """See ExchangeSide: the same, and everything that comes back with it."""
        del fields, content_length
        if not is_agreement(head.status):
            self._refused(head.status)
            return
        self._agreed()
        self.on_response_data(body)
        self.on_response_end([])

    def _refused(self, status: int) -> None:
        self.transport_failure = f"the proxy on the way answered {status}"
        self._end("UF", abort=True)

    def on_request_data(self, data: bytes) -> None:
        """See ExchangeSide; the relay is its own downstream."""

    def on_request_end(self, trailers: Headers) -> None:
        """See ExchangeSide; the relay is its own downstream."""

    def on_downstream_drained(self) -> None:
        """See ExchangeSide; the relay is its own downstream."""

    def on_downstream_failed(self, failure: Failure) -> None:
        """See ExchangeSide; the relay is its own downstream."""

    def flush_downstream(self) -> None:
        """See ExchangeSide; every piece was written at once."""

    # --- the downstream's sink -----------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        """See Sink; the connection was open before."""

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        self.bytes_received += len(data)
        self._touch()
        upstream = self._upstream
        if upstream is None:
            self._pending.append(data)
            return
        upstream.send_data(data)
        upstream.flush()
        if upstream.full:
            self.channel.pause()

    def on_eof(self) -> None:
        """See Sink."""
        if self._upstream is None:
            self._end("DC", abort=True)
            return
        self._upstream.send_end([])
        if self._tunnel is not None:
            self._upstream.flush()
            if self._tunnel.framed:
                # The answer's end is the end of both.
                return
        self._end_side()

    def on_drained(self) -> None:
        """See Sink."""
        if self._upstream is not None:
            self._upstream.resume()

    def on_lost(self, error: OSError) -> None:
        """See Sink."""
        del error
        self._end("DC", abort=True)

    # --- ends ----------------------------------------------------------------------------------------------------------------

    def _touch(self) -> None:
        self._timer.due = self._plane.lane.now + self._idle_s

    def _end_side(self) -> None:
        if self._half_closed:
            self._end("", abort=False)
        self._half_closed = True

    def _end(self, flag: str, *, abort: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self.flags = flag
        self._timer.end()
        if self._age is not None:
            self._age.end()
        self._plane.connections.discard(self)
        upstream, self._upstream, self._asking = self._upstream or self._asking, None, None
        if self._answering is not None:
            self._answering.end()
        if upstream is None and self._pool is not None:
            self._pool.abandon(self)
        elif upstream is not None:
            if abort:
                upstream.cancel()
            else:
                upstream.close_tunnel()
        if abort:
            self.channel.abort()
        else:
            self.channel.close_after_drain()
        self._plane.reporter.relay_closed(self)

    def _expired(self) -> None:
        self._end("SI", abort=True)

    def rebind(self, generation: Generation) -> None:
        """See Rebindable: a relay goes on while its chain is the same and its policies let it; its upstream was chosen when it opened."""
        mode = generation.prepared.proxy.on_policy_change
        chain = self._accepted.rebound(generation)
        if chain is None:
            if mode != KEEP:
                self._end("", abort=False)
            return
        self._accepted.chain = chain
        if not self._accepted.vet(chain) or mode == KEEP:
            return
        if mode == CLOSE or not connection_allowed(chain.prepared, self._accepted.peer):
            self._end("LR", abort=True)

    def drain(self) -> None:
        """See Rebindable: bytes have no boundary at which to stop; the drain's deadline ends the relay."""

    @property
    def certified_until(self) -> float:
        """See Rebindable."""
        return self._accepted.certified_until

    def say_farewell(self) -> bool:
        """See Rebindable."""
        return False

    def abort(self) -> None:
        """See Rebindable and Source."""
        self._end("", abort=True)
