"""One reading for all who ask at once: when a release comes, every proxy asks the store for the same few files."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import trio

from runtime.control.board import Board

T = TypeVar("T")

MAX_AGE_S = 1.0
"""What nobody told the board of, such as a root that was put beside an old timestamp, is given after so long all the same."""

MAX_HELD = 64
"""Keys come from whoever asks, so there may not be any number of them; beyond that all are forgotten, and read again."""


class Latest(Generic[T]):
    """Owns one reading per key, made in a thread for the first who asks and given to all others until the board's version is another.

    A reading that fails is that caller's failure alone: the next one reads again.
    """

    def __init__(self, changed: Board, *, max_age_s: float = MAX_AGE_S) -> None:
        self._changed = changed
        self._max_age_s = max_age_s
        self._version = changed.version
        self._held: dict[Hashable, tuple[float, T]] = {}
        self._reading: dict[Hashable, trio.Event] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` returned, now or for somebody before, since the board changed and not before MAX_AGE_S. Passes on what it raises."""
        while True:
            self._forget_old()
            held = self._held.get(key)
            if held is not None and trio.current_time() - held[0] < self._max_age_s:
                return held[1]
            reading = self._reading.get(key)
            if reading is None:
                return await self._read(key, read)
            await reading.wait()

    def _forget_old(self) -> None:
        if self._version != self._changed.version:
            self._version = self._changed.version
            self._held = {}
            # Who reads now may have begun before the change: nobody else may wait for that.
            self._reading = {}

    async def _read(self, key: Hashable, read: Callable[[], T]) -> T:
        held, done = self._held, trio.Event()
        self._reading[key] = done
        begin = trio.current_time()
        try:
            value = await trio.to_thread.run_sync(read)
            # Into the readings of the version at which it began; those are gone where the board changed meanwhile.
            if len(held) >= MAX_HELD:
                held.clear()
            held[key] = (begin, value)
            return value
        finally:
            if self._reading.get(key) is done:
                del self._reading[key]
            done.set()
