"""What every connection of a worker's data plane shares: the lane, the generation, the pools, the telemetry, the randomness."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from runtime.balance.watch import Watches
from runtime.lane.channel import Channel, Sink
from runtime.lane.loop import Lane
from runtime.limits.limiter import Limiter
from runtime.report import Reporter
from runtime.telemetry import Instruments, TrafficMetrics
from runtime.tls.expiry import CertificateEnds

if TYPE_CHECKING:
    from runtime.accepting import Accepted
    from runtime.generation import Generation
    from runtime.http.pool import Pool, Pools, UpstreamConnection

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class Rebindable(Protocol):
    """A connection that outlives generations."""

    @property
    def certified_until(self) -> float:
        """When the certificate that its client showed ends (seconds since 1970), infinite without one."""

    def rebind(self, generation: Generation) -> None:
        """Another generation serves: go on under it where the connection's own behaviour did not change, else drain."""

    def drain(self) -> None:
        """Ends as soon as nothing is in flight; tells the peer where its protocol can."""

    def say_farewell(self) -> bool:
        """Tells a WebSocket's client that the server goes away (close code 1001), where no frame is under way; what the server says after
        that is dropped. False where nobody was told: other protocols have no such word."""

    def abort(self) -> None:
        """Ends now."""


class RandomDraws:
    """Draws for resolve and on_response from the process's generator; names only matter to a replay."""

    __slots__ = ()

    def draw(self, name: str) -> float:  # noqa: ARG002  the contract's signature
        """See Draws."""
        return random.random()  # noqa: S311  balance, not secrecy


class Plane:
    """The shared state. Owns the set of open downstream connections, ``sessions`` of UDP among them, and the parked tasks' nursery;
    ``generation`` is replaced by swap alone.

    The machines are what speaks each protocol (``http1``, ``http2``, ``tcp``) on each side; runtime/machines.py names them all. ``stamp`` adds
    x-weft-snapshot to every reply. ``source_ip`` is what outgoing loopback connections are bound to, the workload's own, so that on one machine each
    workload is told apart by its address ("" leaves it to the kernel). ``transparent`` says that applications see the clients' addresses.
    """

    __slots__ = (
        "certificate_ends",
        "connections",
        "downstream_machines",
        "draining",
        "draws",
        "generation",
        "instruments",
        "lane",
        "limiter",
        "metrics",
        "nursery",
        "pools",
        "reporter",
        "resolve_name",
        "sessions",
        "source_ip",
        "stamp",
        "transparent",
        "upstream_machines",
        "wall_offset",
        "watches",
    )

    def __init__(
        self, lane: Lane, *, resolve_name: Resolve, stamp: bool = False, source_ip: str = "", transparent: bool = False
    ) -> None:
        self.lane = lane
        self.draws = RandomDraws()
        self.stamp = stamp
        self.source_ip = source_ip
        self.transparent = transparent
        self.connections: set[Rebindable] = set()
        self.sessions = 0
        self.certificate_ends: CertificateEnds[Rebindable] = CertificateEnds()
        self.draining = False
        self.metrics = TrafficMetrics()
        self.instruments = Instruments()
        self.reporter = Reporter(self)
        self.limiter = Limiter(self)
        self.resolve_name = resolve_name
        self.nursery: trio.Nursery | None = None
        self.wall_offset = 0.0
        self.upstream_machines: dict[str, Callable[[Pool], UpstreamConnection]] = {}
        self.downstream_machines: dict[str, Callable[[Plane, Channel, Accepted], Sink]] = {}
        self.generation: Generation
        self.pools: Pools
        self.watches = Watches(lane, self.instruments)

    def set_clock(self) -> None:
        """Relates the wall clock to Trio's; asked again now and then, because the wall clock is corrected and Trio's is not."""
        self.wall_offset = time.time() - trio.current_time()

    def park(self, wait: Callable[[], Awaitable[Callable[[], None]]]) -> None:
        """Runs ``wait`` as a Trio task; the function that it returns is then called in the lane."""
        assert self.nursery is not None
        self.nursery.start_soon(self._parked, wait)

    async def _parked(self, wait: Callable[[], Awaitable[Callable[[], None]]]) -> None:
        self.lane.call(await wait())
