"""What serves requests for a supervisor: a fleet of our own workers, or Envoy. Both take the same orders."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from runtime.bootstrap import Bootstrap
from runtime.ipc import LiveUpdate
from runtime.supervisor.fleet import Fleet, Outcome
from runtime.supervisor.handover import HandedWorker, Inherited
from runtime.supervisor.sockets import Address, Sockets, transparent_names
from snapshot.index import Slice


class Served(Protocol):
    """The orders. See ``runtime.supervisor.fleet.Fleet`` for their contracts."""

    restarts: int

    @property
    def outlived(self) -> int:
        """How many workers of the program before still live."""

    @property
    def workers_up(self) -> int:
        """How many processes serve now."""

    def pids(self) -> dict[int, int]:
        """Process ids, by number."""

    async def run(self) -> None:
        """Keeps the processes alive until cancelled."""

    async def deploy(self, slice_: Slice, wanted: dict[str, Address]) -> Outcome:
        """All of a slice or nothing of it."""

    async def update(self, live: LiveUpdate) -> None:
        """Passes live data."""

    async def ask(self, page: str) -> list[bytes]:
        """One page of every process that has it."""

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> tuple[int, bytes] | None:
        """The status and body of the engine's own admin page of this path; None where ours is to be shown."""

    async def more_metrics(self) -> bytes:
        """Metrics of its own, in the Prometheus text format."""

    def held(self) -> AbstractAsyncContextManager[tuple[HandedWorker, ...]]:
        """The workers as they can be handed over to a new program; raises HandoverError where there is no such thing."""

    async def drain(self, deadline_s: float) -> None:
        """Finishes what is in flight."""


def sockets_for(bootstrap: Bootstrap, inherited: Inherited) -> Sockets:
    """The sockets that the engine is given: one per worker and address. Envoy binds its own; ours only find out whether an address is free."""
    workers = 0 if bootstrap.engine == "envoy" else bootstrap.workers
    return Sockets(workers=workers, inherited=inherited.sockets, transparent=transparent_names(bootstrap))


def fleet_for(bootstrap: Bootstrap, sockets: Sockets, *, command: Sequence[str], inherited: Inherited) -> Served:
    """The engine that the bootstrap names; raises EnvoyMissingError where it is not installed."""
    if bootstrap.engine == "envoy":
        from runtime.envoy.fleet import EnvoyFleet  # Its messages cost 30 MiB.

        return EnvoyFleet(bootstrap)
    return Fleet(bootstrap, sockets, command=command, predecessors=inherited.workers)
