"""A worker that the program before this one started: it serves until our own workers do, then it finishes what it has and ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

import trio

from runtime.ipc import Borrow, Channel, ChannelClosedError, Drain
from runtime.limits.lender import Lender

log = logging.getLogger("weft.proxy")


class Predecessor:
    """Owns a process that is our child though we did not start it, and our end of its channel."""

    def __init__(self, number: int, pid: int, channel: Channel, *, draining: bool = False) -> None:
        self.number = number
        self.pid = pid
        self.draining = draining
        self._channel = channel

    async def live(self, lender: Lender, retire: trio.Event, deadline_s: float) -> None:
        """Lends it tokens while it serves, drains it once ``retire`` is set, and reaps it; it is ended where this is cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer, lender)
                nursery.start_soon(self._drain, retire, deadline_s)
                await self._wait()
                nursery.cancel_scope.cancel()
        finally:
            self._end()

    async def hold(self) -> tuple[int, bytes]:
        """See Channel.hold."""
        return await self._channel.hold()

    def let_go(self) -> None:
        """See Channel.release."""
        self._channel.release()

    async def _answer(self, lender: Lender) -> None:
        """What it asks. A worker of another version may say what we cannot read; then it is listened to no more, and goes on."""
        with contextlib.suppress(ChannelClosedError):
            while True:
                frame = await self._channel.receive()
                if isinstance(frame, Borrow):
                    await self._channel.send(lender.lend(frame, trio.current_time()))

    async def _drain(self, retire: trio.Event, deadline_s: float) -> None:
        if self.draining:
            return  # It was told so by the program before, with a deadline of its own.
        await retire.wait()
        self.draining = True
        log.info("worker %d (pid %d) of the program before drains for at most %g s", self.number, self.pid, deadline_s)
        with contextlib.suppress(ChannelClosedError):
            await self._channel.send(Drain(deadline_s))

    async def _wait(self) -> None:
        """Waits until the process has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _end(self) -> None:
        self._channel.close()
        self._kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
