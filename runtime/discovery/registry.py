"""The registry of workloads as this proxy sees it, and this workload's own place in it.

The last registry is kept on disk: after a restart with no control plane it is better than none, and the first answer replaces it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from runtime.control.interface import REFRESH_S
from runtime.discovery.control import ControlClient, ControlError
from runtime.identity.saved import write_whole
from snapshot.decoding import json_decoder
from snapshot.live import RegisteredWorkload, Registry

WAIT_S = 25.0
FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
MAX_SAVED_BYTES = 64 * 1024 * 1024

log = logging.getLogger("weft.proxy")


class RegistryFollower:
    """Owns the newest registry. ``reachable`` says whether the control plane answered last time."""

    def __init__(self, control: ControlClient, saved: Path) -> None:
        self.registry: Registry | None = None
        self.reachable = False
        self._control = control
        self._saved = saved

    async def follow(self, emit: Callable[[Registry], Awaitable[None]]) -> None:
        """Emits the saved registry, then each that the control plane has. Runs until cancelled."""
        version = -1
        self.registry = await trio.to_thread.run_sync(self._load)
        if self.registry is not None:
            await emit(self.registry)
        await self._control.has_certificate.wait()
        failures = 0
        while True:
            try:
                found = await self._control.read_registry(version, wait_s=WAIT_S)
            except ControlError as error:
                if self.reachable or not failures:
                    log.warning("the registry is not to be had, the last one stays: %s", error)
                failures, self.reachable = failures + 1, False
                longest = min(FIRST_RETRY_S * 2.0 ** min(failures, 10), LONGEST_RETRY_S)
                await trio.sleep(longest * (0.5 + 0.5 * random.random()))  # noqa: S311  jitter, not secrecy
                continue
            failures, self.reachable = 0, True
            if found is not None:
                version, self.registry = found.version, found
                await emit(found)
                await trio.to_thread.run_sync(self._save, found)

    def _load(self) -> Registry | None:
        try:
            if self._saved.stat().st_size > MAX_SAVED_BYTES:
                return None
            return json_decoder(Registry).decode(self._saved.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _save(self, registry: Registry) -> None:
        try:
            write_whole(self._saved, msgspec.json.encode(registry), mode=0o600)
        except OSError as error:
            log.warning("the registry could not be saved: %s", error)


class Registration:
    """Keeps one workload in the registry while it is ready. ``problem`` is the last refusal ("" for none)."""

    def __init__(self, control: ControlClient) -> None:
        self.problem = ""
        self._control = control
        self._workload: RegisteredWorkload | None = None
        self._changed = trio.Event()

    def offer(self, workload: RegisteredWorkload) -> None:
        """Registers this from now on; at once where it is new."""
        if workload != self._workload:
            self._workload = workload
            self._changed.set()

    async def refresh_forever(self) -> None:
        """Registers and refreshes the lease until cancelled."""
        while True:
            if self._workload is not None:
                await self._refresh(self._workload)
            # After a refusal it is tried sooner: the snapshot that knows the workload may be a moment away.
            with trio.move_on_after(1.0 if self.problem else REFRESH_S):
                await self._changed.wait()
            self._changed = trio.Event()

    async def withdraw(self) -> bool:
        """Leaves the registry, so that nobody is sent here any more; does not insist. False where it was not in it, or nobody was told."""
        workload, self._workload = self._workload, None
        if workload is None:
            return False
        try:
            await self._control.withdraw(workload)
        except ControlError as error:
            log.info("the registration ends with its lease: %s", error)
            return False
        return True

    async def _refresh(self, workload: RegisteredWorkload) -> None:
        try:
            await self._control.register(workload)
            self.problem = ""
        except ControlError as error:
            if str(error) != self.problem:
                log.warning("not registered (%s): %s", error.reason, error)
            self.problem = str(error)
