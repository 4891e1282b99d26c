"""When to look at a store again: at once where a directory says so, else at a pace that failures slow down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
import watchfiles

from snapshot.store import Store
from snapshot.store_directory import DirectoryStore

MAX_DELAY_S = 5.0
_JITTER = 0.1
_STEP_MS = 20
"""How often watchfiles looks whether there was a change; news is late by up to two steps, and each costs a wake-up."""
_DEBOUNCE_MS = 60

log = logging.getLogger(__name__)


def next_delay_s(poll_s: float, failures: int, draw: float) -> float:
    """How long to wait: ``poll_s``, doubled per failure in a row up to MAX_DELAY_S, and spread by a tenth either way. ``draw`` is in [0, 1)."""
    slowed = poll_s * float(2 ** min(failures, 16))
    return max(poll_s, min(slowed, MAX_DELAY_S)) * (1 - _JITTER + 2 * _JITTER * draw)


class Changes:
    """A bell that a watched directory rings. It owns no task: ``watch`` is one, for its caller's nursery."""

    def __init__(self, store: Store) -> None:
        self._folder = store.path / "metadata" if isinstance(store, DirectoryStore) else None
        self._bell = trio.Event()

    async def watch(self, poll_s: float) -> None:
        """Rings at changes until cancelled; returns at once where there is no directory. A folder not there yet is looked for each ``poll_s``."""
        while self._folder is not None:
            if await trio.Path(self._folder).is_dir():
                await self._watch_folder(self._folder)
            await trio.sleep(poll_s)

    async def wait_due(self, delay_s: float) -> None:
        """Waits for the bell, at most ``delay_s`` (none or less is now), since not every file system tells of changes."""
        with trio.move_on_after(max(delay_s, 0.0)):
            await self._bell.wait()
        self._bell = trio.Event()

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
