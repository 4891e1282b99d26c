"""Requests that go where they were going: the authority names the upstream, by address or by a name that has to be resolved first.

It is the authority that the client named: a rewrite changes what the upstream is told, not where it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.telemetry import REPLIES, Failure
from snapshot.decide import target_port
from snapshot.section import Endpoint

if TYPE_CHECKING:
    from runtime.http.exchange import Exchange


def passthrough(exchange: Exchange) -> None:
    """Finds the endpoint of a passthrough request and sends it there; parked while its name is resolved."""
    peer = exchange.downstream.peer
    if peer.intercepted:
        # The address counts, whatever the request says: a name in Host may be anybody's.
        _go(exchange, Endpoint(peer.destination_ip, peer.destination_port))
        return
    host = exchange.head.host.strip("[]")
    port = target_port(exchange.head)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        exchange.plane.park(lambda: _resolved(exchange, host, port))
    else:
        _go(exchange, Endpoint(address=host, port=port))


async def _resolved(exchange: Exchange, host: str, port: int) -> Callable[[], None]:
    addresses = await exchange.plane.resolve_name(host, port)
    if exchange.done:
        return lambda: None
    if not addresses:
        return lambda: exchange.reply(REPLIES[Failure.NAME_UNRESOLVED])
    return lambda: _go(exchange, Endpoint(address=addresses[0], port=port, others=addresses[1:]))


def _go(exchange: Exchange, endpoint: Endpoint) -> None:
    if not exchange.done:
        exchange.endpoint = endpoint
        exchange.attempt()
