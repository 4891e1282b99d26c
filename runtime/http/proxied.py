"""Connections that begin by naming the client (PROXY protocol): they are one client connection's own, so each client has pools of its own.

An EndpointPool where a cluster asks for the protocol, and costs other clusters nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.http.pool import Pool
from runtime.http.stream import FromClient
from runtime.http.tally import ClusterLoad, EndpointTally
from runtime.proxy_protocol import Ends, write

SWEEP_AT = 64
"""From how many pools on those without a request are let go, with their idle connections: most of their clients have left. Doubled with
what is in use, so that looking stays cheap."""


class ProxiedPools:
    """The pools to one endpoint, by the header with which their connections begin. Owns them, with ``let_go`` for those not used any more."""

    __slots__ = ("_let_go", "_make", "_pools", "_sweep_at", "_version", "load", "tally")

    def __init__(
        self,
        version: str,
        make: Callable[[bytes], Pool],
        let_go: Callable[[Pool], None],
        *,
        load: ClusterLoad,
        tally: EndpointTally,
    ) -> None:
        self.load = load
        self.tally = tally
        self._version = version
        self._make = make
        self._let_go = let_go
        self._pools: dict[bytes, Pool] = {}
        self._sweep_at = SWEEP_AT

    @property
    def active(self) -> int:
        """See EndpointPool. The endpoint knows: it goes on counting when these pools are made anew beside the old ones."""
        return self.tally.active

    def acquire(self, waiter: FromClient) -> None:
        """See EndpointPool."""
        self._of(waiter).acquire(waiter)

    def acquire_fresh(self, waiter: FromClient) -> None:
        """See EndpointPool."""
        self._of(waiter).acquire_fresh(waiter)

    def abandon(self, waiter: FromClient) -> None:
        """See EndpointPool."""
        self._of(waiter).abandon(waiter)

    def _of(self, waiter: FromClient) -> Pool:
        peer = waiter.client
        ends = Ends(peer.source_ip, peer.source_port, peer.destination_ip, peer.destination_port)
        header = write(self._version, ends)
        pool = self._pools.get(header)
        if pool is None:
            if len(self._pools) >= self._sweep_at:
                self._sweep()
            pool = self._pools[header] = self._make(header)
        return pool

    def _sweep(self) -> None:
        for header, pool in list(self._pools.items()):
            if pool.unused:
                del self._pools[header]
                self._let_go(pool)
        self._sweep_at = max(SWEEP_AT, 2 * len(self._pools))
