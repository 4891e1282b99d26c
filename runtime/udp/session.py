"""One client's datagrams to one endpoint, and the answers: a connected socket, an idle deadline, and nothing that is kept of what passed."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from runtime.lane.wheel import Timer
from runtime.policy_change import CLOSE, KEEP, connection_allowed
from runtime.socket_address import family_of, is_path
from runtime.telemetry import Failure
from runtime.tls.expiry import NEVER
from snapshot.section import Endpoint, UdpChain

if TYPE_CHECKING:
    from runtime.accepting import Accepted
    from runtime.balance.cluster import LiveCluster
    from runtime.generation import Generation
    from runtime.udp.accepting import DatagramAcceptor, Way

ANSWERS_PER_EVENT = 64
DRAIN_S = 1.0
"""How long a session may be silent once its proxy leaves, or another has its client: who was asked something has answered by then."""


class UdpSession:
    """One session. Owns the socket towards its endpoint and its idle timer; the way back leads through the acceptor's socket."""

    protocol = "UDP"

    def __init__(
        self, acceptor: DatagramAcceptor, accepted: Accepted, way: Way, cluster: LiveCluster, endpoint: Endpoint
    ) -> None:
        self.accepted = accepted
        self.way = way
        self.cluster = cluster
        self.endpoint = endpoint
        self.started = acceptor.plane.lane.now
        self.flags = ""
        self.transport_failure = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self._datagrams_received = 0
        self._datagrams_sent = 0
        self._published = (0, 0, 0, 0)
        self._acceptor = acceptor
        self._plane = acceptor.plane
        self._known = cluster.known
        self._answered = False
        self._retired = False
        self._timer = Timer(self._expired)
        self._idle_s = self._idle()
        self._sock: socket.socket | None = None

    def open(self) -> bool:
        """Enters the lane; False where there is no way to the endpoint, or no descriptor for it."""
        plane, endpoint = self._plane, self.endpoint
        if is_path(endpoint.address):
            self._acceptor.count("tx_errors")
            return False
        try:
            sock = _connected(endpoint, plane.source_ip)
        except OSError:
            self._acceptor.count("tx_errors")
            return False
        self._sock = sock
        load = plane.pools.load_of(self.cluster.section.name)
        load.connections += 1
        load.opened += 1
        plane.connections.add(self)
        plane.sessions += 1
        plane.lane.register(sock.fileno(), self, select.EPOLLIN)
        plane.lane.wheel.set(self._timer, plane.lane.now, self._idle_s)
        return True

    def _idle(self) -> float:
        network = self.accepted.chain.prepared.chain.network
        assert isinstance(network, UdpChain)
        return (self.cluster.section.limits.tcp_idle_ms or network.idle_ms) / 1000

    @property
    def is_stale(self) -> bool:
        """Whether its endpoint has gone or was found to be ill while another is well: then the next datagram begins anew, as in Envoy."""
        cluster = self.cluster
        if cluster.known is not self._known:
            if self.endpoint not in cluster.known:
                return True
            self._known = cluster.known
        watch = cluster.watch
        return watch is not None and not watch.is_up(self.endpoint) and any(map(watch.is_up, cluster.known))

    # --- datagrams -----------------------------------------------------------------------------------------------------------

    def forward(self, size: int) -> bool:
        """Passes the datagram that lies in the acceptor's buffer to the endpoint; False where the session has ended instead. What the kernel has
        no room for is lost, as on any path."""
        sock = self._sock
        if sock is None:
            return False
        try:
            sock.send(self._acceptor.view[:size])
        except ConnectionRefusedError:
            self._refused()
            return False
        except OSError:
            self._acceptor.count("tx_errors")
        self.bytes_received += size
        self._datagrams_received += 1
        self._timer.due = self._plane.lane.now + self._idle_s
        return True

    def on_event(self, mask: int) -> None:
        """See Source: answers, or what the kernel has learned of the endpoint."""
        del mask
        acceptor, sock = self._acceptor, self._sock
        if sock is None:
            return
        for _ in range(ANSWERS_PER_EVENT):
            try:
                size = sock.recv_into(acceptor.buffer)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self._refused()
                return
            except OSError:
                acceptor.count("rx_errors")
                return
            if not self._answered:
                self._answered = True
                if self.cluster.watch is not None:
                    self.cluster.watch.on_connected(self.endpoint)
            self._timer.due = self._plane.lane.now + self._idle_s
            try:
                acceptor.path.send(acceptor.sock, acceptor.view[:size], self.way)
            except OSError:
                acceptor.count("tx_errors")
                continue
            self.bytes_sent += size
            self._datagrams_sent += 1

    def _refused(self) -> None:
        """Nobody listens there (ICMP port unreachable). The client's next datagram begins a session with whoever is chosen then."""
        self._acceptor.count("rx_errors")
        self.transport_failure = "Connection refused"
        if self.cluster.watch is not None:
            self.cluster.watch.on_failure(self.endpoint, Failure.CONNECT_FAILED)
        self.end("UF")

    # --- ends ----------------------------------------------------------------------------------------------------------------

    def end(self, flag: str = "") -> None:
        """Ends the session; the client is not told, because UDP has no word for it."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self.flags = flag
        self._timer.end()
        self._plane.connections.discard(self)
        self._plane.sessions -= 1
        self._plane.pools.load_of(self.cluster.section.name).connections -= 1
        self._plane.lane.forget(sock)
        self.publish(self._acceptor.counted)
        self._acceptor.forget(self)
        self._plane.reporter.session_closed(self)

    def retire(self) -> None:
        """Leaves the client's next datagram to another session, and itself once no answer comes any more."""
        self._retired = True
        self._acceptor.forget(self)
        self._hurry()

    def _hurry(self) -> None:
        self._idle_s = min(self._idle_s, DRAIN_S)
        self._plane.lane.wheel.set(self._timer, self._plane.lane.now, self._idle_s)

    def _expired(self) -> None:
        if not self._retired:
            self._acceptor.count("idle_timeout")
        self.end()

    def publish(self, counted: dict[str, int]) -> None:
        """Adds what passed since the last time."""
        now = (self._datagrams_received, self.bytes_received, self._datagrams_sent, self.bytes_sent)
        names = ("rx_datagrams", "rx_bytes", "tx_datagrams", "tx_bytes")
        for name, total, before in zip(names, now, self._published, strict=True):
            if total != before:
                counted[name] = counted.get(name, 0) + total - before
        self._published = now

    def rebind(self, generation: Generation) -> None:
        """See Rebindable: a session goes on while its listener leads to the same destinations, its endpoint is still there, and the policies let
        it. Without its listener there is no way back to the client."""
        if self._retired:
            return
        mode = generation.prepared.proxy.on_policy_change
        chain = self.accepted.rebound(generation)
        cluster = generation.clusters.get(self.cluster.section.name)
        if chain is None:
            if self.accepted.listener not in generation.prepared.listeners:
                self.end()
            elif mode != KEEP:
                self.retire()
            return
        if cluster is None or self.endpoint not in cluster.known:
            self.retire()
            return
        self.accepted.chain, self.accepted.generation = chain, generation
        self.cluster, self._known = cluster, cluster.known
        self._idle_s = self._idle()
        self._plane.lane.wheel.set(self._timer, self._plane.lane.now, self._idle_s)
        if not self.accepted.vet(chain) or mode == KEEP:
            return
        if mode == CLOSE or not connection_allowed(chain.prepared, self.accepted.peer):
            self.end("LR")

    def drain(self) -> None:
        """See Rebindable: ends once it is silent, where nothing comes in any more. A proxy that only asks clients to leave has no word for these."""
        if self._acceptor.stopped:
            self._hurry()

    @property
    def certified_until(self) -> float:
        """See Rebindable."""
        return NEVER

    def say_farewell(self) -> bool:
        """See Rebindable."""
        return False

    def abort(self) -> None:
        """See Rebindable and Source."""
        self.end()


def _connected(endpoint: Endpoint, source_ip: str) -> socket.socket:
    """A socket that takes datagrams from this endpoint alone; from loopback's ``source_ip`` towards loopback. Raises OSError."""
    sock = socket.socket(family_of(endpoint.address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if source_ip and endpoint.address.startswith("127."):
            sock.bind((source_ip, 0))
        sock.connect((endpoint.address, endpoint.port))
    except OSError:
        sock.close()
        raise
    return sock
