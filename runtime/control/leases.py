"""Who is there: registered workloads, each until its lease ends. Time is an argument; nothing here waits."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.control.interface import LEASE_S, Reason
from runtime.control.refusal import Refused
from snapshot.live import RegisteredWorkload, Registry

MAX_WORKLOADS = 100_000

Key = tuple[str, str, str]
"""Namespace, name, address: replicas of one workload differ by their address."""


def key_of(workload: RegisteredWorkload) -> Key:
    """What tells one registration from another."""
    return workload.namespace, workload.name, workload.address


class Leases:
    """Owns the registrations by key and when each ends. A key belongs to the identity that took it, until it lets go."""

    def __init__(self, *, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._workloads: dict[Key, RegisteredWorkload] = {}
        self._ends: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._workloads)

    def restore(self, workloads: Iterable[RegisteredWorkload], now: float) -> None:
        """Takes up registrations from before a restart, each with one lease to show itself again."""
        for workload in workloads:
            self._put(key_of(workload), workload, now)

    def register(self, workload: RegisteredWorkload, now: float) -> bool:
        """Registers or refreshes; True where readers see a difference. Raises Refused where another identity holds the name."""
        key = key_of(workload)
        held = self._workloads.get(key)
        if held is not None and held.identity != workload.identity:
            raise Refused(
                Reason.CONFLICT, f"{key[0]}/{key[1]} is registered by {held.identity}, not {workload.identity}"
            )
        if held is None and len(self._workloads) >= MAX_WORKLOADS:
            raise Refused(Reason.UNAVAILABLE, f"the registry is full ({MAX_WORKLOADS} workloads)")
        self._put(key, workload, now)
        return held != workload

    def withdraw(self, namespace: str, name: str, address: str, identity: str) -> list[Key]:
        """Ends the caller's leases of a workload, of one replica where ``address`` is given, and returns their keys.

        Raises Refused where another identity holds one of them; then nothing ends."""
        keys = [key for key in self._workloads if key[:2] == (namespace, name) and (not address or key[2] == address)]
        for key in keys:
            if self._workloads[key].identity != identity:
                raise Refused(Reason.CONFLICT, _held(self._workloads[key], identity))
        for key in keys:
            self._drop(key)
        return keys

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
        """All registered workloads, by key."""
        return Registry(version=version, workloads=tuple(self._workloads[key] for key in sorted(self._workloads)))

    def _put(self, key: Key, workload: RegisteredWorkload, now: float) -> None:
        self._workloads[key] = workload
        self._ends[key] = now + self.lease_s

    def _drop(self, key: Key) -> None:
        del self._workloads[key], self._ends[key]


def _held(held: RegisteredWorkload, caller: str) -> str:
    return f"{held.namespace}/{held.name} at {held.address} is registered by {held.identity}, not {caller}"
