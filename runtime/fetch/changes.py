"""When to look at a store again: at once where a directory or a waiting host says so, else at a pace that failures slow down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
import watchfiles

from snapshot.store import Store, StoreError, WaitingStore
from snapshot.store_directory import DirectoryStore
from snapshot.trust.layout import TIMESTAMP

MAX_DELAY_S = 15.0
_JITTER = 0.1
WAIT_S = 25.0
"""How long a host is asked to hold its answer back; one that answers "unchanged" within half of it cannot wait."""
MAX_RETRY_S = 2.0
"""How soon a host that could wait is asked again after a failure: one small request, so that its return is noticed at once."""
_STEP_MS = 20
"""How often watchfiles looks whether there was a change; news is late by up to two steps, and each costs a wake-up."""
_DEBOUNCE_MS = 60

log = logging.getLogger(__name__)


def next_delay_s(poll_s: float, failures: int, draw: float) -> float:
    """How long to wait: ``poll_s``, doubled per failure in a row up to MAX_DELAY_S, and spread by a tenth either way. ``draw`` is in [0, 1)."""
    slowed = poll_s * float(2 ** min(failures, 16))
    return max(poll_s, min(slowed, MAX_DELAY_S)) * (1 - _JITTER + 2 * _JITTER * draw)


class Changes:
    """A bell that a watched directory, or a host that can wait, rings. It owns no task: ``watch`` is one, for its caller's nursery."""

    def __init__(self, store: Store) -> None:
        self._folder = store.path / "metadata" if isinstance(store, DirectoryStore) else None
        self._host = store if isinstance(store, WaitingStore) else None
        self._waiting = False
        self._bell = trio.Event()

    async def watch(self, poll_s: float) -> None:
        """Rings at changes until cancelled; returns where the store can neither be watched nor wait.

        A folder not there yet is looked for each ``poll_s``."""
        if self._host is not None:
            await self._wait_on(self._host, poll_s)
        while self._folder is not None:
            if await trio.Path(self._folder).is_dir():
                await self._watch_folder(self._folder)
            await trio.sleep(poll_s)

    async def wait_due(self, delay_s: float) -> None:
        """Waits for the bell, at most ``delay_s``: polling goes on beside watching, since not every file system tells of changes.

        While a host waits for us, polling only guards against one that forgets, and looks every MAX_DELAY_S."""
        with trio.move_on_after(max(delay_s, MAX_DELAY_S) if self._waiting else delay_s):
            await self._bell.wait()
        self._bell = trio.Event()

    async def _wait_on(self, host: WaitingStore, poll_s: float) -> None:
        known = ""
        while True:
            begin = trio.current_time()
            try:
                ask = partial(host.wait_other, TIMESTAMP, known, wait_s=WAIT_S)
                found = await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
            except StoreError:
                # The follower's own look tells of it; here it only means that the next answer is news.
                self._waiting = False
                known = ""
                await trio.sleep(min(max(poll_s, 0.1), MAX_RETRY_S))
                continue
            if found == known and trio.current_time() - begin < WAIT_S / 2:
                self._waiting = False
                return
            if found != known:
                self._ring()
            known = found
            self._waiting = True

    async def _watch_folder(self, folder: Path) -> None:
        stop = threading.Event()
        token = trio.lowlevel.current_trio_token()
        ring = partial(token.run_sync_soon, self._ring)
        try:
            await trio.to_thread.run_sync(_watch_blocking, folder, stop, ring, abandon_on_cancel=True)
        except (OSError, RuntimeError) as error:
            # RuntimeError is what watchfiles' native part raises, e.g. when the machine is out of inotify watches.
            log.warning("cannot watch %s, polling instead: %s", folder, error)
        finally:
            stop.set()

    def _ring(self) -> None:
        self._bell.set()


def _watch_blocking(folder: Path, stop: threading.Event, ring: Callable[[], None]) -> None:
    """Rings at every change until ``stop`` or until the folder is gone. watchfiles' own async form takes seconds to cancel under Trio."""
    changes = watchfiles.watch(
        folder, watch_filter=_is_timestamp, step=_STEP_MS, debounce=_DEBOUNCE_MS, stop_event=stop, recursive=False
    )
    try:
        for _ in changes:
            ring()
            if not folder.is_dir():
                return
    except trio.RunFinishedError:
        return


def _is_timestamp(change: watchfiles.Change, path: str) -> bool:
    return change is not watchfiles.Change.deleted and path.endswith("/timestamp.json")
