"""When files of the mesh are saved: a bell that rings once for all saves since it was last heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import trio
import watchfiles

from compiler.tree import is_configuration
from weft.local.children import LocalError

_STEP_MS, _DEBOUNCE_MS = 10, 40
"""An editor writes a file in several steps within a few milliseconds; what takes longer is another save."""


class Saves:
    """Owns what was saved and not compiled yet. ``saved_at`` is when the newest of it was (seconds since 1970)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bell = trio.Event()
        self._saved_at = 0.0
        self._files: set[str] = set()

    @property
    def pending(self) -> bool:
        """Whether something was saved that nobody has taken."""
        return self._bell.is_set()

    async def take(self) -> tuple[float, list[str]]:
        """Waits for a save; returns when the newest one was, and the files, relative to the root."""
        await self._bell.wait()
        self._bell = trio.Event()
        files, self._files = sorted(self._files), set()
        return self._saved_at, files

    async def watch(self) -> None:
        """Watches until cancelled. Raises LocalError where the system cannot watch (e.g. it is out of inotify watches)."""
        stop = threading.Event()
        token = trio.lowlevel.current_trio_token()

        def ring(saved_at: float, files: set[str]) -> None:
            token.run_sync_soon(self._ring, saved_at, files)

        try:
            await trio.to_thread.run_sync(self._watch_blocking, stop, ring, abandon_on_cancel=True)
        except (OSError, RuntimeError) as error:
            raise LocalError(f"cannot watch {self._root}: {error}") from None
        finally:
            stop.set()
        raise LocalError(f"{self._root} is gone")

    def _watch_blocking(self, stop: threading.Event, ring: Callable[[float, set[str]], None]) -> None:
        changes = watchfiles.watch(
            self._root,
            watch_filter=self._matters,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            stop_event=stop,
            rust_timeout=500,
        )
        try:
            for change in changes:
                paths = [Path(path) for _, path in change]
                ring(_saved_at(paths), {self._relative(path) for path in paths})
        except trio.RunFinishedError:
            return

    def _ring(self, saved_at: float, files: set[str]) -> None:
        self._saved_at = saved_at
        self._files |= files
        self._bell.set()

    def _matters(self, change: watchfiles.Change, path: str) -> bool:  # noqa: ARG002  watchfiles' signature
        return is_configuration(self._relative(Path(path)))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.name


def _saved_at(paths: list[Path]) -> float:
    """The newest file's own time; where files are gone, or bear a time of long ago or of tomorrow, it is now that counts."""
    now = time.time()
    times = [path.stat().st_mtime for path in paths if path.is_file()]
    newest = max(times, default=now)
    return newest if now - 5.0 < newest <= now else now
