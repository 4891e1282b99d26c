"""The load generator as the story sees it: started, told what to expect, read, ended."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import trio

from weft.demo.load import Report
from weft.demo.plan import DemoError

RATE_PER_S = 600


class Generator:
    """Owns the load process. ``report`` is the latest count, None before the first."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.report: Report | None = None
        self._reported = trio.Event()
        self._ended = False

    @classmethod
    async def start(cls, nursery: trio.Nursery, log: Path, *, rate_per_s: int = RATE_PER_S) -> Generator:
        """Starts the load in this nursery; it is killed when the nursery is cancelled."""
        with log.open("ab") as errors:
            running = partial(
                trio.run_process,
                [sys.executable, "-m", "weft.demo.load", str(rate_per_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
            )
            process = await nursery.start(running)
        generator = cls(process)
        nursery.start_soon(generator._read)
        return generator

    async def _read(self) -> None:
        assert self._process.stdout is not None
        buffer = b""
        async for piece in self._process.stdout:
            *lines, buffer = (buffer + piece).split(b"\n")
            if lines:
                self.report = msgspec.json.decode(lines[-1], type=Report)
                self._announce()
        self._ended = True
        self._announce()

    def _announce(self) -> None:
        reported, self._reported = self._reported, trio.Event()
        reported.set()

    async def expect(self, kind: str, *codes: int) -> None:
        """From now on these statuses are right for one kind of request."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(msgspec.json.encode({"expect": {kind: codes}}) + b"\n")

    async def wait_report(self) -> Report:
        """The next report; raises DemoError where the load ended by itself."""
        if self._ended:
            raise DemoError(f"the load generator ended with {self._process.returncode}")
        await self._reported.wait()
        assert self.report is not None
        return self.report

    async def wait_fresh(self) -> Report:
        """A report of which every part was counted after this call."""
        await self.wait_report()
        return await self.wait_report()

    async def finish(self) -> Report:
        """Ends the load, every request answered, and returns the last count."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with trio.move_on_after(15):
            while not self._ended:
                await self._reported.wait()
        if self.report is None:
            raise DemoError("the load generator counted nothing")
        return self.report
