"""Connections that are one client's alone: those that begin by naming it (PROXY protocol), and those that come from its address. Each client
has pools of its own.

An EndpointPool where a cluster asks for the one, or the proxy does the other, and costs other clusters nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from policies.head import Peer
from runtime.http.pool import Pool
from runtime.http.stream import FromClient
from runtime.http.tally import ClusterLoad, EndpointTally
from runtime.proxy_protocol import Ends, write

SWEEP_AT = 64
"""From how many pools on those without a request are let go, with their idle connections: most of their clients have left. Doubled with
what is in use, so that looking stays cheap."""


Key = TypeVar("Key", bound=Hashable)


def announcing(version: str) -> Callable[[Peer], bytes]:
    """The header with which a client's connections begin."""

    def header(peer: Peer) -> bytes:
        return write(version, Ends(peer.source_ip, peer.source_port, peer.destination_ip, peer.destination_port))

    return header


def address_of(peer: Peer) -> str:
    """The address that a client's connections come from."""
    return peer.source_ip


class ClientPools(Generic[Key]):
    """The pools to one endpoint, by what is one client's. Owns them, with ``let_go`` for those not used any more."""

    __slots__ = ("_key", "_let_go", "_make", "_pools", "_sweep_at", "load", "tally")

    def __init__(
        self,
        key: Callable[[Peer], Key],
        make: Callable[[Key], Pool],
        let_go: Callable[[Pool], None],
        *,
        load: ClusterLoad,
        tally: EndpointTally,
    ) -> None:
        self.load = load
        self.tally = tally
        self._key = key
        self._make = make
        self._let_go = let_go
        self._pools: dict[Key, Pool] = {}
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
        key = self._key(waiter.client)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= self._sweep_at:
                self._sweep()
            pool = self._pools[key] = self._make(key)
        return pool

    def _sweep(self) -> None:
        for key, pool in list(self._pools.items()):
            if pool.unused:
                del self._pools[key]
                self._let_go(pool)
        self._sweep_at = max(SWEEP_AT, 2 * len(self._pools))
