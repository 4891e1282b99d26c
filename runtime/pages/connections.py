"""``/connections``: the downstream connections that a worker has open, and under which snapshot each stands."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runtime.accepting import Accepted
    from runtime.plane import Rebindable

MOST = 10_000
"""More connections than this are counted and not listed."""


class Connection(msgspec.Struct, omit_defaults=True):
    """One connection. ``state`` is ``opening`` until its protocol is known; ``snapshot`` is the one that its next request is decided by.
    ``intercepted`` says that ``destination`` is where it was going before the kernel redirected it."""

    source: str
    destination: str
    listener: str
    chain: str
    protocol: str
    snapshot: str
    identity: str = ""
    server_name: str = ""
    worker: int = 0
    intercepted: bool = False


class Connections(msgspec.Struct):
    """What one worker, or all together, have open."""

    total: int
    connections: list[Connection]


def of_connections(connections: Iterable[Rebindable]) -> Iterator[Connection]:
    """One worker's. Those that are still being opened have no chain and are left out."""
    for one in connections:
        accepted = getattr(one, "accepted", None)
        if accepted is not None:
            yield _connection(one, accepted)


def by_listener(connections: Iterable[Rebindable]) -> Counter[str]:
    """How many connections each listener has, but for those that are still being opened."""
    accepted = (getattr(one, "accepted", None) for one in list(connections))
    return Counter(one.listener for one in accepted if one is not None)


def _connection(machine: Rebindable, accepted: Accepted) -> Connection:
    peer = accepted.peer
    return Connection(
        f"{peer.source_ip}:{peer.source_port}",
        f"{peer.destination_ip}:{peer.destination_port}",
        accepted.listener,
        accepted.chain.key[1],
        str(getattr(machine, "protocol", "TCP")),
        accepted.generation.prepared.snapshot,
        peer.identity,
        peer.server_name,
        intercepted=peer.intercepted,
    )


def added(parts: Iterable[Connections]) -> Connections:
    """All workers' connections, each with its worker's number."""
    total = 0
    found = []
    for number, part in enumerate(parts):
        total += part.total
        for one in part.connections:
            one.worker = number
            found.append(one)
    found.sort(key=lambda one: (one.listener, one.source))
    return Connections(total, found[:MOST])
