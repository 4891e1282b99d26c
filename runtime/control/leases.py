"""Who is there: registered workloads, each until its lease ends. Time is an argument; nothing here waits."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.control.interface import LEASE_S, Reason
from runtime.control.refusal import Refused
from snapshot.live import RegisteredWorkload, Registry

MAX_WORKLOADS = 100_000

Key = tuple[str, str]


class Leases:
    """Owns the registrations by (namespace, name) and when each ends. A name belongs to the identity that took it, until it lets go."""

    def __init__(self, *, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._workloads: dict[Key, RegisteredWorkload] = {}
        self._ends: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._workloads)

    def restore(self, workloads: Iterable[RegisteredWorkload], now: float) -> None:
        """Takes up registrations from before a restart, each with one lease to show itself again."""
        for workload in workloads:
            self._put((workload.namespace, workload.name), workload, now)

    def register(self, workload: RegisteredWorkload, now: float) -> bool:
        """Registers or refreshes; True where readers see a difference. Raises Refused where another identity holds the name."""
        key = (workload.namespace, workload.name)
        held = self._workloads.get(key)
        if held is not None and held.identity != workload.identity:
            raise Refused(
                Reason.CONFLICT, f"{key[0]}/{key[1]} is registered by {held.identity}, not {workload.identity}"
            )
        if held is None and len(self._workloads) >= MAX_WORKLOADS:
            raise Refused(Reason.UNAVAILABLE, f"the registry is full ({MAX_WORKLOADS} workloads)")
        self._put(key, workload, now)
        return held != workload

    def withdraw(self, namespace: str, name: str, identity: str) -> bool:
        """Ends a lease of the caller's; False where there is none. Raises Refused where another identity holds the name."""
        held = self._workloads.get((namespace, name))
        if held is None:
            return False
        if held.identity != identity:
            raise Refused(Reason.CONFLICT, f"{namespace}/{name} is registered by {held.identity}, not {identity}")
        self._drop((namespace, name))
        return True

    def expire(self, now: float) -> list[Key]:
        """Drops the registrations whose lease is over and returns their keys."""
        over = [key for key, end in self._ends.items() if end <= now]
        for key in over:
            self._drop(key)
        return over

    def next_end(self, now: float) -> float:
        """When to call ``expire`` next; never later than the end of a lease that begins after this call."""
        return min(self._ends.values(), default=now + self.lease_s)

    def registry(self, version: int) -> Registry:
        """All registered workloads, by namespace and name."""
        return Registry(version=version, workloads=tuple(self._workloads[key] for key in sorted(self._workloads)))

    def _put(self, key: Key, workload: RegisteredWorkload, now: float) -> None:
        self._workloads[key] = workload
        self._ends[key] = now + self.lease_s

    def _drop(self, key: Key) -> None:
        del self._workloads[key], self._ends[key]
