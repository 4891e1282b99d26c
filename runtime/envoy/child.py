"""A child process that lives as long as the thread that started it, which is this program's main one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import trio


class Child:
    """Owns the process. It is started by the calling thread: Trio's own way starts processes in threads that end when they are idle, and a
    process that asked for a signal when its parent dies (prctl(2), PR_SET_PDEATHSIG) gets it when that thread does.

    Raises OSError where the program cannot be run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        # A session of its own: signals of the terminal are for the supervisor, which drains.
        self._process = subprocess.Popen(  # noqa: S603  Envoy, by our own command
            command, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._handle: int | None = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """Ends it now; does nothing where it has ended."""
        self._process.kill()

    async def wait(self) -> int:
        """Waits for its end and reaps it; one task at a time."""
        if self._handle is not None and self._process.poll() is None:
            await trio.lowlevel.wait_readable(self._handle)
        status = self._process.wait()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        return status
