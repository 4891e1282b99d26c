"""One writer at a time, in a place that has no compare-and-swap: only a record that anybody can read and overwrite.

A registry's tag is such a record. The lease is Fischer's algorithm with a take-over:

    free    -> write my name, wait ``confirm_s``, read: my name still there means that the lease is mine
    taken   -> wait until it is free, or has not changed for ``lease_s`` on my own clock: its holder is dead; then as for free

It is safe because nobody writes except after reading "free" (or "dead") less than ``confirm_s`` before: whoever took longer gives up
its claim. A holder acts only while less than ``lease_s - margin_s`` has passed since its last write, and reads the record before
every act. No clock is compared with another machine's. What remains: a write that the server applies later than ``confirm_s`` (or
``margin_s``) after the client gave it up. So this is weaker than a server's own conditional write, and callers read back what they wrote.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from snapshot.store import Conflict

LEASE_S = 30.0
MARGIN_S = 15.0
"""Longer than one small write with all its timeouts."""

CONFIRM_S = 3.0
CLAIM_SHARE = 0.75
"""A claim, from the read that said "free" to the write's answer, must be done in this part of ``confirm_s``."""

PATIENCE_LEASES = 3
POLL_S = 0.25


class LeaseRecord(msgspec.Struct, frozen=True):
    """What the shared record says: ``holder`` is "" where the lease is free; ``beat`` changes with every write."""

    holder: str = ""
    beat: str = ""


class Shared(Protocol):
    """The record: a register that all writers see alike, last write wins. Both calls raise StoreError."""

    def read(self) -> LeaseRecord:
        """The record now; the default where it was never written."""
        ...

    def write(self, record: LeaseRecord) -> None:
        """Overwrites the record."""
        ...


class Pace(msgspec.Struct, frozen=True):
    """The four durations, in seconds. All writers of one record must have the same ``lease_s`` and ``confirm_s``."""

    lease_s: float = LEASE_S
    margin_s: float = MARGIN_S
    confirm_s: float = CONFIRM_S
    poll_s: float = POLL_S


class WriterLease:
    """One party's hold on a shared record. It owns what it wrote there last, and when. Safe to call from several threads."""

    def __init__(
        self,
        shared: Shared,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._shared = shared
        self._pace = pace or Pace()
        self._clock = clock
        self._sleep = sleep
        self._me = secrets.token_hex(8)
        self._written: LeaseRecord | None = None
        self._written_at = 0.0
        self._lock = threading.RLock()

    def require(self) -> None:
        """Takes the lease, or keeps it: after this the caller may write for ``margin_s``. Blocks while another holds it.

        Raises Conflict where another is at work for longer than PATIENCE_LEASES, or has taken it from us.
        """
        with self._lock:
            if self._written is None:
                self._take()
                return
            age_s = self._clock() - self._written_at
            if age_s > self._pace.lease_s - self._pace.margin_s or self._shared.read() != self._written:
                self._written = None
                raise Conflict("this publisher was too slow and lost its lease to write: run again")
            if age_s > self._pace.lease_s / 4:
                self._write()

    def release(self) -> None:
        """Frees the lease where it is held; raises StoreError where that cannot be said (it then runs out by itself)."""
        with self._lock:
            written, self._written = self._written, None
            in_time = self._clock() - self._written_at < self._pace.lease_s - self._pace.margin_s
            if written is not None and in_time and self._shared.read() == written:
                self._shared.write(LeaseRecord())

    def _take(self) -> None:
        deadline = self._clock() + PATIENCE_LEASES * self._pace.lease_s
        seen, seen_at = self._shared.read(), self._clock()
        read_at = seen_at
        while True:
            if (not seen.holder or self._clock() - seen_at > self._pace.lease_s) and self._claim(read_at):
                return
            if self._clock() > deadline:
                raise Conflict("another publisher is at work in this store: run again when it has ended")
            self._sleep(self._pace.poll_s)
            read_at = self._clock()
            record = self._shared.read()
            if record != seen:
                seen, seen_at = record, self._clock()

    def _claim(self, read_at: float) -> bool:
        """Writes our name and says whether it stood. ``read_at`` is when the read began that said the lease is free."""
        self._write()
        if self._clock() - read_at > CLAIM_SHARE * self._pace.confirm_s:
            # Another may have claimed and confirmed since that read; it will notice that its name is gone. Ours is left standing, unused:
            # until it has run out nobody writes, and what was under way has ended.
            self._written = None
            return False
        self._sleep(self._pace.confirm_s)
        if self._shared.read() == self._written:
            return True
        self._written = None
        return False

    def _write(self) -> None:
        record = LeaseRecord(self._me, secrets.token_hex(4))
        begun_at = self._clock()
        self._shared.write(record)
        self._written, self._written_at = record, begun_at
