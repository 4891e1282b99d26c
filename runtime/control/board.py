"""A version and those who wait for it to grow: what every long poll of the control plane stands on."""

from __future__ import annotations

import trio


class Board:
    """Owns one version number and one event per version, so that a change costs one wake-up however many wait."""

    def __init__(self, version: int = 0) -> None:
        self.version = version
        self._grown = trio.Event()

    def advance(self) -> int:
        """Makes the next version and wakes all waiters."""
        self.version += 1
        grown, self._grown = self._grown, trio.Event()
        grown.set()
        return self.version

    async def wait_other(self, version: int, *, wait_s: float) -> bool:
        """Waits until the version is not ``version``: at once where it is not now. False where ``wait_s`` went by.

        Other, not newer: a client that knows a version from before the state was lost must not wait for a number that never comes.
        """
        with trio.move_on_after(wait_s):
            while self.version == version:
                await self._grown.wait()
        return self.version != version
