"""What an operator may ask of a proxy before its end: to be avoided, to stop listening, to go. Each is Envoy's of the same name."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from runtime.bootstrap import Bootstrap
from runtime.interception import redirected_to
from runtime.ipc import LiveUpdate
from runtime.socket_address import socket_name
from runtime.supervisor.engines import Served
from runtime.supervisor.running import Running
from runtime.supervisor.sockets import Sockets
from snapshot.section import Listener

DRAIN_S = 30.0

log = logging.getLogger("weft.proxy")


class Leaving:
    """Owns what was asked for: ``unhealthy`` since a failed health check, ``closed`` the listeners' sockets that were given up.

    A proxy that is avoided still serves who comes, and asks each to leave with its reply; one that stopped listening finishes what it has.
    Neither ends by itself. What is closed stays closed until the process ends, whatever slices come.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        running: Running,
        fleet: Served,
        sockets: Sockets,
        *,
        on_change: Callable[[], None],
        withdraw: Callable[[], Awaitable[object]],
    ) -> None:
        self.unhealthy = False
        self.closed: frozenset[str] = frozenset()
        self._bootstrap = bootstrap
        self._running = running
        self._fleet = fleet
        self._sockets = sockets
        self._on_change = on_change
        self._withdraw = withdraw

    async def set_healthy(self, *, healthy: bool) -> None:
        """Leaves the registry, fails the readiness page and asks clients to leave with each reply, or takes that back."""
        self.unhealthy = not healthy
        log.warning("health: %s", "restored" if healthy else "failed on request; clients are asked to leave")
        await self._fleet.update(LiveUpdate(leaving=not healthy))
        self._on_change()
        if not healthy:
            await self._withdraw()

    async def drain_listeners(self, *, graceful: bool, inbound_only: bool, keep_open: bool) -> None:
        """Stops listening: now, or, where ``graceful``, after a drain's time in which clients are asked to leave; ``keep_open`` then
        listens on."""
        if graceful:
            await self.set_healthy(healthy=False)
            await trio.sleep(self.drain_s)
            if keep_open:
                return
        names = self._names(inbound_only=inbound_only)
        log.warning("listens no more on %s", ", ".join(sorted(names)) or "anything")
        self.closed |= names
        await self._fleet.update(LiveUpdate(closed=tuple(sorted(self.closed))))
        self._sockets.release(names & self._sockets.names())

    @property
    def drain_s(self) -> float:
        """How long a drain may take."""
        deployed = self._running.deployed
        return deployed.facts.proxy.deadlines.drain_ms / 1000 if deployed is not None else DRAIN_S

    def has_closed(self, listener: Listener) -> bool:
        """Whether a listener's socket was given up."""
        address = self._bootstrap.resolve(listener.bind)
        return address is not None and socket_name(address, datagrams=listener.protocol == "udp") in self.closed

    def _names(self, *, inbound_only: bool) -> frozenset[str]:
        deployed = self._running.deployed
        found = [
            (listener, self._bootstrap.resolve(listener.bind))
            for listener in (deployed.facts.listeners if deployed is not None else ())
            if not inbound_only or listener.direction == "inbound"
        ]
        redirected = redirected_to(self._bootstrap)
        led = [one for way, places in redirected.items() if way == "inbound" or not inbound_only for one in places]
        return frozenset(map(socket_name, led)) | frozenset(
            socket_name(address, datagrams=listener.protocol == "udp")
            for listener, address in found
            if address is not None
        )
