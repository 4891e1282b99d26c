"""The connections to one endpoint, and who waits for one.

A pool's key does not name a generation, so connections outlive swaps: cluster, address, protocol and the TLS settings that they were made
with. Limits count per cluster over all its endpoints (Envoy's circuit breaker), in a ClusterLoad that the cluster's pools share.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from policies.balancing import KeepAlive
from runtime.http.racing import Race
from runtime.http.stream import Waiter
from runtime.http.tally import ClusterLoad, EndpointTally
from runtime.interception import MARK, make_transparent
from runtime.lane.channel import Channel, Sink
from runtime.lane.tls_channel import TlsChannel, TlsFailedError
from runtime.lane.wheel import NEVER, Timer, slack
from runtime.plane import Plane
from runtime.socket_address import family_of, shown, target_of
from runtime.telemetry import Failure
from runtime.tls.contexts import MaterialError
from runtime.tls.naming import UpstreamRefusedError, vetting
from snapshot.section import Cluster, Endpoint, MeshUpstream, PoolLimits, UpstreamTls

MAX_PENDING = 16_384
"""The bound of a pool's queue where the configuration gives none."""
TRIM_AT = 64
"""From how many retired pools on those that have ended are let go. Doubled with what has not, so that looking stays cheap."""

_IP_BIND_ADDRESS_NO_PORT = 24

Place = tuple[str, str, int]
"""An endpoint of a cluster: the cluster's name, the address, the port."""


class PoolKey(NamedTuple):
    """What must be equal for two requests to share connections. ``preface`` is what these begin with, before any TLS; ``source`` is the address
    that they come from, "" where that is nobody's wish."""

    cluster: str
    address: str
    port: int
    protocol: str
    tls: UpstreamTls | None
    preface: bytes = b""
    source: str = ""


class UpstreamConnection(Sink, Protocol):
    """A connection in a pool, of any version. It tells its pool: ``on_ready``, ``on_connect_failed``, ``on_closed``, ``on_stream_done``.

    ``requests`` is how many it was ever given.
    """

    channel: Channel
    capacity: int
    requests: int

    def open(self, waiter: Waiter) -> None:
        """Gives the waiter a stream, by ``Waiter.on_stream``. Only called where ``capacity`` is positive."""

    def retire(self) -> None:
        """Takes no more streams and closes when the open ones are done."""


class Pool:
    """The connections to one endpoint. Owns them, and the queue of waiters.

    ``active`` counts streams in use, for least request.
    """

    __slots__ = (
        "_ages",
        "_connecting",
        "_free",
        "_pending",
        "_races",
        "_retired",
        "active",
        "cluster",
        "connections",
        "endpoint",
        "host",
        "idle_s",
        "idle_slack_s",
        "key",
        "limits",
        "load",
        "plane",
        "tally",
    )

    def __init__(
        self,
        plane: Plane,
        key: PoolKey,
        cluster: Cluster,
        endpoint: Endpoint,
        *,
        load: ClusterLoad,
        tally: EndpointTally,
    ) -> None:
        self.plane = plane
        self.key = key
        self.use(cluster)
        self.endpoint = endpoint
        self.load = load
        self.tally = tally
        self.host = shown(key.address, key.port)
        self.active = 0
        self.connections: set[UpstreamConnection] = set()
        self._free: dict[UpstreamConnection, None] = {}
        self._ages: dict[UpstreamConnection, Timer] = {}
        self._races: dict[UpstreamConnection, Race] = {}
        self._pending: deque[Waiter] = deque()
        self._connecting = 0
        self._retired = False

    def use(self, cluster: Cluster) -> None:
        """Takes the cluster's settings of another generation: limits and idle time may differ, what the key holds does not."""
        self.cluster = cluster
        self.limits: PoolLimits = cluster.limits
        self.idle_s = cluster.limits.idle_timeout_ms / 1000 or NEVER
        self.idle_slack_s = slack(self.idle_s)

    @property
    def unused(self) -> bool:
        """Whether nobody has a stream of it, or waits for one."""
        return not self.active and not self._pending

    @property
    def pending(self) -> int:
        """How many wait for a stream."""
        return len(self._pending)

    # --- asking --------------------------------------------------------------------------------------------------------------

    def acquire(self, waiter: Waiter) -> None:
        """Gives the waiter a stream, now or later, or says why there is none."""
        most = self.limits.max_requests
        if most and self.load.requests >= most:
            self._overflow(waiter, "upstream_rq_pending_overflow")
            return
        free = self._free
        while free:
            connection = free.popitem()[0]
            if connection.capacity > 0 and not connection.channel.closed:
                if connection.capacity > 1:
                    free[connection] = None
                self.active += 1
                self.load.granted += 1
                connection.open(waiter)
                return
        self._enqueue(waiter)

    def acquire_fresh(self, waiter: Waiter) -> None:
        """The same on a connection that is not idle now: where one idle connection was found closed, its neighbours probably are, too."""
        self._enqueue(waiter)

    def _grant(self, connection: UpstreamConnection, waiter: Waiter) -> None:
        self.active += 1
        self.load.granted += 1
        connection.open(waiter)

    def _enqueue(self, waiter: Waiter) -> None:
        limits = self.limits
        load = self.load
        full = limits.max_connections and load.connections >= limits.max_connections
        if full and self.key.protocol == "tcp":
            # A tunnel never gives its connection back, so there is nothing to wait for.
            self._overflow(waiter, "upstream_cx_overflow")
            return
        may_connect = not full or not self.connections
        # Envoy counts a request that a new connection will carry as pending, too.
        if load.pending >= (limits.max_pending_requests or MAX_PENDING):
            self._overflow(waiter, "upstream_rq_pending_overflow")
            return
        if full and may_connect:
            self._count("upstream_cx_overflow")
        self._pending.append(waiter)
        load.pending += 1
        load.queued += 1
        if may_connect and self._lacks_connections():
            self._connect()

    def _overflow(self, waiter: Waiter, what: str) -> None:
        self._count(what)
        waiter.on_unavailable(Failure.OVERFLOW, "overflow")

    def _count(self, what: str) -> None:
        self.plane.instruments.add(f"envoy_cluster_{what}", self.cluster.name)

    def _lacks_connections(self) -> bool:
        """Each waiter has a connection under way, but over HTTP/2 one is enough for all: it will carry many."""
        enough = 1 if self.key.protocol == "http2" else len(self._pending)
        return bool(self._pending) and self._connecting < enough

    def abandon(self, waiter: Waiter) -> None:
        """The waiter waits no more."""
        try:
            self._pending.remove(waiter)
        except ValueError:
            return
        self.load.pending -= 1

    # --- connecting ----------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.load.opened += 1
        self.load.http1_opened += self.key.protocol == "http1"
        self.load.http2_opened += self.key.protocol == "http2"
        self.tally.opened += 1
        if self.endpoint.others:
            if not Race(self, (self.key.address, *self.endpoint.others)).start():
                self._fail_one(Failure.CONNECT_FAILED, "no address can be reached")
            return
        try:
            self._dial(self.key.address, None)
        except MaterialError as error:
            self._fail_one(Failure.UPSTREAM_TLS, str(error))
        except OSError as error:
            self._fail_one(Failure.CONNECT_FAILED, error.strerror or str(error))

    def dial(self, address: str, race: Race) -> UpstreamConnection | None:
        """Sets out for one address of several; None where that cannot even begin."""
        try:
            return self._dial(address, race)
        except (MaterialError, OSError):
            return None

    def _dial(self, address: str, race: Race | None) -> UpstreamConnection:
        """Sets out for an address; raises MaterialError or OSError."""
        source = self.key.source or (self.plane.source_ip if address.startswith("127.") else "")
        foreign = self.plane.transparent and self.key.source != ""
        sock = open_socket(address, self.key.port, source, self.limits.keep_alive, foreign=foreign)
        connection = self.plane.upstream_machines[self.key.protocol](self)
        connection.channel = self._channel(sock, connection)
        connection.channel.preface = self.key.preface
        self._connecting += 1
        self.load.connections += 1
        self.connections.add(connection)
        if race is not None:
            self._races[connection] = race
        if self.limits.max_duration_ms:
            self._set_age(connection)
        connection.channel.start()
        return connection

    def _set_age(self, connection: UpstreamConnection) -> None:
        """A connection that has lived long enough takes no more streams."""

        def aged() -> None:
            self._free.pop(connection, None)
            connection.retire()

        timer = self._ages[connection] = Timer(aged)
        self.plane.lane.wheel.set(timer, self.plane.lane.now, self.limits.max_duration_ms / 1000)

    def _channel(self, sock: socket.socket, connection: UpstreamConnection) -> Channel:
        tls = self.key.tls
        lane = self.plane.lane
        if tls is None:
            return Channel(lane, sock, connection, connecting=True)
        generation = self.plane.generation
        try:
            context = generation.material.client(tls, self.key.protocol)
            return TlsChannel(
                lane,
                sock,
                connection,
                context,
                server_side=False,
                server_name=tls.server_name,
                connecting=True,
                vet=vetting(tls, generation.trust_domains),
            )
        except (MaterialError, ssl.SSLError, ValueError) as error:
            sock.close()
            raise MaterialError("malformed", str(error)) from None

    def on_ready(self, connection: UpstreamConnection) -> None:
        """A connection is open (and, with TLS, vetted), or has capacity again."""
        if self._races and (race := self._races.pop(connection, None)) is not None:
            race.won(connection)
        self._offer(connection)

    def on_connected(self) -> None:
        """A connection attempt has succeeded; ``on_ready`` follows."""
        self._connecting -= 1
        self.plane.instruments.add("weft_connections_total", "upstream")

    def on_connect_failed(self, connection: UpstreamConnection, error: OSError) -> None:
        """A connection attempt has failed: the oldest waiter hears of it."""
        self._connecting -= 1
        self._forget(connection)
        if self._races and (race := self._races.pop(connection, None)) is not None and race.failed(connection):
            return
        if isinstance(error, UpstreamRefusedError):
            failure = Failure.UPSTREAM_IDENTITY
        elif isinstance(error, TlsFailedError):
            failure = Failure.UPSTREAM_TLS
        else:
            failure = Failure.CONNECT_TIMEOUT if error.errno == errno.ETIMEDOUT else Failure.CONNECT_FAILED
            self.load.connect_timed_out += failure is Failure.CONNECT_TIMEOUT
        if failure in (Failure.UPSTREAM_IDENTITY, Failure.UPSTREAM_TLS):
            self.plane.instruments.add("weft_handshake_failed_total", "upstream", failure.value)
        self._fail_one(failure, error.strerror or str(error))

    def _fail_one(self, failure: Failure, reason: str) -> None:
        self.load.connect_failed += 1
        self.tally.connect_failed += 1
        if self._pending:
            waiter = self._pending.popleft()
            self.load.pending -= 1
            waiter.on_unavailable(failure, reason)

    # --- coming back ---------------------------------------------------------------------------------------------------------

    def on_stream_done(self, connection: UpstreamConnection) -> None:
        """A stream has ended; its connection may carry another where it says so by ``capacity``."""
        self.active -= 1
        self.load.ended += 1
        if connection.capacity > 0 and not connection.channel.closed:
            if self._pending or self._retired:
                self._offer(connection)
            else:
                self._free[connection] = None

    def on_closed(self, connection: UpstreamConnection) -> None:
        """An open connection is gone; its streams have been told and counted off."""
        self._forget(connection)
        self._free.pop(connection, None)
        if self._lacks_connections():
            self._connect()

    def _forget(self, connection: UpstreamConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            self.load.connections -= 1
            self.tally.past += connection.requests
            if self._ages and connection in self._ages:
                self._ages.pop(connection).end()

    def _offer(self, connection: UpstreamConnection) -> None:
        pending = self._pending
        most = self.limits.max_requests
        while pending and connection.capacity > 0:
            waiter = pending.popleft()
            self.load.pending -= 1
            if most and self.load.requests >= most:
                self._overflow(waiter, "upstream_rq_pending_overflow")
            else:
                self._grant(connection, waiter)
        if connection.capacity <= 0 or connection.channel.closed:
            return
        if self._retired:
            connection.retire()
        else:
            self._free[connection] = None

    def retire(self) -> None:
        """No generation uses this pool any more: idle connections close now, busy ones when they are done."""
        self._retired = True
        self._free.clear()
        for connection in list(self.connections):
            connection.retire()


class ClientPool(Pool):
    """A pool of one client's own. What is in flight it counts for its endpoint, too: nobody could ask as many pools as there are clients."""

    __slots__ = ("_active",)

    def __init__(
        self,
        plane: Plane,
        key: PoolKey,
        cluster: Cluster,
        endpoint: Endpoint,
        *,
        load: ClusterLoad,
        tally: EndpointTally,
    ) -> None:
        self._active = 0
        super().__init__(plane, key, cluster, endpoint, load=load, tally=tally)

    @property
    def active(self) -> int:
        """See Pool."""
        return self._active

    @active.setter
    def active(self, count: int) -> None:
        self.tally.active += count - self._active
        self._active = count


class Pools:
    """All pools of a worker, by key."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._pools: dict[PoolKey, Pool] = {}
        self._retired: list[Pool] = []
        self._trim_at = TRIM_AT
        self._loads: dict[str, ClusterLoad] = {}
        self._tallies: dict[Place, EndpointTally] = {}

    def get(self, cluster: Cluster, endpoint: Endpoint, protocol: str, preface: bytes = b"", source: str = "") -> Pool:
        """The pool to an endpoint of a cluster, as that cluster now is."""
        tls = cluster.tls
        if isinstance(tls, MeshUpstream) and tls.auto and not endpoint.mesh:
            tls = None
        key = PoolKey(cluster.name, endpoint.address, endpoint.port, protocol, tls, preface, source)
        pool = self._pools.get(key)
        if pool is None:
            load, tally = self.load_of(cluster.name), self.tally_of(cluster.name, endpoint)
            made = ClientPool if preface or (source and self._plane.transparent) else Pool
            pool = self._pools[key] = made(self._plane, key, cluster, endpoint, load=load, tally=tally)
        pool.endpoint = endpoint
        pool.use(cluster)
        return pool

    def load_of(self, cluster: str) -> ClusterLoad:
        """What a cluster's pools use together."""
        return self._loads.setdefault(cluster, ClusterLoad())

    def tally_of(self, cluster: str, endpoint: Endpoint) -> EndpointTally:
        """What a cluster counts of one endpoint."""
        return self._tallies.setdefault((cluster, endpoint.address, endpoint.port), EndpointTally())

    @property
    def loads(self) -> Mapping[str, ClusterLoad]:
        """What the clusters use that have been asked for so far, by name."""
        return self._loads

    def by_place(self) -> dict[Place, list[Pool]]:
        """All pools by where they lead, also those that no generation uses and that finish what they have."""
        found: dict[Place, list[Pool]] = {}
        self._retired = [pool for pool in self._retired if pool.connections]
        for pool in (*self._pools.values(), *self._retired):
            found.setdefault((pool.key.cluster, pool.key.address, pool.key.port), []).append(pool)
        return found

    def keep(self, uses: Callable[[PoolKey], bool]) -> None:
        """Retires every pool that is not used any more."""
        for key in [
            key
            for key, pool in self._pools.items()
            if not uses(key) or ((key.preface or (self._plane.transparent and key.source)) and pool.unused)
        ]:
            self._retire(self._pools.pop(key))
        self.forget()

    def forget(self) -> None:
        """Lets go of what is counted of endpoints that no pool leads to."""
        here = self.by_place()
        self._tallies = {place: tally for place, tally in self._tallies.items() if place in here}

    def _retire(self, pool: Pool) -> None:
        pool.retire()
        if not pool.connections:
            return
        if len(self._retired) >= self._trim_at:
            self._retired = [one for one in self._retired if one.connections]
            self._trim_at = max(TRIM_AT, 2 * len(self._retired))
        self._retired.append(pool)

    def let_go(self, pool: Pool) -> None:
        """Retires a pool that nobody uses."""
        self._pools.pop(pool.key, None)
        self._retire(pool)

    @property
    def active(self) -> int:
        """Streams in use, of all pools."""
        return sum(load.requests for load in self._loads.values())

    @property
    def connections(self) -> int:
        """Open upstream connections of all pools."""
        return sum(load.connections for load in self._loads.values())


def open_socket(
    address: str, port: int, source_ip: str, keep_alive: KeepAlive | None = None, *, foreign: bool = False
) -> socket.socket:
    """A non-blocking socket whose connection is under way, from ``source_ip`` where one is given, which is another machine's where ``foreign``
    says so; raises OSError where it cannot even start."""
    family = family_of(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keep_alive is not None and family != socket.AF_UNIX:
            _keep_alive(sock, keep_alive)
        if foreign:
            make_transparent(sock, mark=MARK)
        if source_ip:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source_ip, 0))
        code = sock.connect_ex(target_of(address, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))  # noqa: TRY301  the socket must be closed
    except OSError:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket, settings: KeepAlive) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, settings.probes),
        (socket.TCP_KEEPIDLE, settings.time_s),
        (socket.TCP_KEEPINTVL, settings.interval_s),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class ConnectDeadline:
    """The deadline of one connection attempt, TLS handshake included."""

    __slots__ = ("_channel_of", "timer")

    def __init__(self, pool: Pool, channel_of: Callable[[], Channel]) -> None:
        self._channel_of = channel_of
        self.timer = Timer(self._expired)
        plane = pool.plane
        plane.lane.wheel.set(self.timer, plane.lane.now, pool.cluster.limits.connect_timeout_ms / 1000)

    def _expired(self) -> None:
        self._channel_of().lose(OSError(errno.ETIMEDOUT, "connection timeout"))
