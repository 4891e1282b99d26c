"""A listening socket for datagrams: which session each belongs to, and how many there may be.

UDP has no connections, so nothing tells of a client that has gone, and a sender's address proves nothing: sessions end when they are silent,
and where there are too many, the one that was silent longest makes room.
"""

from __future__ import annotations

import select
import socket
from collections import OrderedDict
from typing import TYPE_CHECKING

from policies.head import Peer
from runtime.accepting import Accepted
from runtime.plane import Plane
from runtime.policy_change import connection_allowed
from runtime.udp.packets import LARGEST, Client, path_of
from runtime.udp.session import UdpSession
from snapshot.decision import Decision
from snapshot.resolve import resolve
from snapshot.section import Endpoint, GatewayPort, Listener, UdpChain

if TYPE_CHECKING:
    from runtime.balance.cluster import LiveCluster

DATAGRAMS_PER_EVENT = 64
Way = tuple[Client, bytes]


class DatagramAcceptor:
    """One listening socket in the lane. Owns its sessions, the buffer that all datagrams pass through, and what was counted since ``publish``.

    Does not own the socket: the supervisor does. ``direction`` is there for whoever treats it like an Acceptor; datagrams are not intercepted.
    """

    def __init__(self, plane: Plane, sock: socket.socket, listener: str) -> None:
        self.plane = plane
        self.sock = sock
        self.listener = listener
        self.direction = ""
        self.stopped = False
        self.path = path_of(sock)
        self.buffer = bytearray(LARGEST)
        self.view = memoryview(self.buffer)
        self.counted: dict[str, int] = {}
        self._sessions: OrderedDict[Way, UdpSession] = OrderedDict()
        self._serving: UdpSession | None = None

    def start(self) -> None:
        """Enters the lane."""
        self.sock.setblocking(False)
        self.plane.lane.register(self.sock.fileno(), self, select.EPOLLIN)

    def stop(self) -> None:
        """Leaves the lane; what is under way in its sessions may still be answered."""
        self.stopped = True
        self.plane.lane.release(self.sock)
        self.publish()

    def abort(self) -> None:
        """See Source: what a bug costs is the session that it came out in, not the port."""
        session, self._serving = self._serving, None
        if session is not None:
            session.abort()

    def on_event(self, mask: int) -> None:
        """See Source."""
        del mask
        receive, sock, buffer, sessions = self.path.receive, self.sock, self.buffer, self._sessions
        generation = self.plane.generation
        for _ in range(DATAGRAMS_PER_EVENT):
            try:
                size, way = receive(sock, buffer)
            except BlockingIOError:
                break
            except OSError:
                self.count("rx_errors")
                continue
            session = sessions.get(way)
            if session is not None:
                sessions.move_to_end(way)
                # Between a swap and a session's turn to be moved over.
                if session.accepted.generation is not generation:
                    session.rebind(generation)
                elif session.is_stale:
                    session.retire()
                session = sessions.get(way)
            self._serving = None
            # What a refusal of the datagram before it keeps from being sent is for somebody else.
            if session is None or not self._forward(session, size):
                session = self._begin(way)
                if session is not None:
                    self._forward(session, size)
        self._serving = None

    def _forward(self, session: UdpSession, size: int) -> bool:
        self._serving = session
        return session.forward(size)

    # --- sessions ------------------------------------------------------------------------------------------------------------

    def _begin(self, way: Way) -> UdpSession | None:
        """A session for a new client; None where its datagram is dropped, which is counted."""
        generation = self.plane.generation
        listener = generation.prepared.listeners.get(self.listener)
        if listener is None:
            return None
        chain = generation.chains[listener.name, listener.chains[0].name]
        network = chain.prepared.chain.network
        assert isinstance(network, UdpChain)
        accepted = Accepted(generation, listener.name, chain, self._peer(listener, way))
        if not connection_allowed(chain.prepared, accepted.peer):
            self.plane.instruments.add("weft_connection_refused_total", "datagram_denied")
            return None
        found = self._choose(accepted, network)
        if found is None:
            return None
        if not self._make_room(network, generation.deadlines.max_connections // 2):
            self.plane.instruments.add("weft_connection_refused_total", "too_many_connections")
            return None
        session = UdpSession(self, accepted, way, *found)
        if not session.open():
            return None
        self._sessions[way] = session
        self.count("total")
        return session

    def _make_room(self, network: UdpChain, most: int) -> bool:
        """Ends the sessions that were silent longest until one more fits: among the listener's, and among all of the worker's, which leave half of
        what it may have open to connections. False where there is no room and none of the listener's to end."""
        while len(self._sessions) >= network.max_sessions or self.plane.sessions >= most:
            if not self._sessions:
                return False
            next(iter(self._sessions.values())).end()
        return True

    def _choose(self, accepted: Accepted, network: UdpChain) -> tuple[LiveCluster, Endpoint] | None:
        """By weight, then by the cluster's balance, as a TCP connection is led."""
        generation = accepted.generation
        decision = Decision(
            destinations=network.destinations, total_weight=sum(one.weight for one in network.destinations)
        )
        action = resolve(decision, generation, self.plane.lane.now, self.plane.draws, None, accepted.peer)
        if action.destination is None or not action.destination.cluster:
            self.count("no_route")
            return None
        cluster = generation.clusters[action.destination.cluster]
        name, limit = cluster.section.name, cluster.section.limits.max_connections
        if action.endpoint is None:
            self.plane.instruments.add("envoy_cluster_upstream_cx_none_healthy", name)
            return None
        if limit and self.plane.pools.load_of(name).connections >= limit:
            self.plane.instruments.add("envoy_cluster_upstream_cx_overflow", name)
            return None
        return cluster, action.endpoint

    def _peer(self, listener: Listener, way: Way) -> Peer:
        host, number, *_ = self.sock.getsockname()
        local = self.path.called(way) or host
        port = listener.bind.port if isinstance(listener.bind, GatewayPort) else number
        source_ip, source_port = way[0][:2]
        return Peer(source_ip, source_port, local, port, addresses=f"{local}:{port} {source_ip}:{source_port}")

    def forget(self, session: UdpSession) -> None:
        """A session takes no more of its client's datagrams."""
        if self._sessions.get(session.way) is session:
            del self._sessions[session.way]
        if self.stopped:
            self.publish()

    # --- what is counted -----------------------------------------------------------------------------------------------------

    def count(self, what: str, amount: int = 1) -> None:
        """Counts; the names are the ends of Envoy's ``downstream_sess_`` names, but for ``idle_timeout``."""
        self.counted[what] = self.counted.get(what, 0) + amount

    def publish(self) -> None:
        """Adds what was counted to the worker's instruments."""
        counted, self.counted = self.counted, {}
        for session in self._sessions.values():
            session.publish(counted)
        for what, amount in counted.items():
            name = "envoy_udp_idle_timeout" if what == "idle_timeout" else f"envoy_udp_downstream_sess_{what}"
            self.plane.instruments.add(name, self.listener, amount=amount)
        self.plane.instruments.set("envoy_udp_downstream_sess_active", len(self._sessions), self.listener)
