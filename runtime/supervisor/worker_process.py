"""One worker as the supervisor sees it: a process, a channel, what it holds, and who waits for its answers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Sequence
from typing import TypeVar

import trio

from runtime.bootstrap import Bootstrap
from runtime.ipc import (
    MAX_DESCRIPTORS,
    Abandon,
    Answer,
    Ask,
    Borrow,
    Channel,
    ChannelClosedError,
    Drain,
    Drained,
    Frame,
    Listeners,
    LiveUpdate,
    Prepare,
    Prepared,
    Ready,
    Start,
    Swap,
    Swapped,
    blob_batches,
)
from runtime.limits.lender import Lender
from snapshot.index import Slice, slice_blobs

T = TypeVar("T", Ready, Prepared, Swapped, Drained)

READY_S = 20.0
PREPARE_S = 60.0
SWAP_S = 10.0
ANSWER_S = 5.0


class WorkerFailedError(Exception):
    """The worker is gone, or did not answer in time."""


class WorkerProcess:
    """Owns one worker process and this end of its channel. Orders are given by one task at a time; ``ask`` by any."""

    def __init__(self, number: int, process: trio.Process, channel: Channel) -> None:
        self.number = number
        self.draining = False
        self.process = process
        self._channel = channel
        self._held: frozenset[str] = frozenset()
        self._running: frozenset[str] = frozenset()
        self._send_report, self._reports = trio.open_memory_channel[Frame](16)
        self._answers: dict[int, trio.MemorySendChannel[bytes]] = {}
        self._asked = 0

    async def read_reports(self, lender: Lender) -> None:
        """Reads frames until the worker is gone; everyone who waits is told. What it borrows comes from ``lender``."""
        try:
            while True:
                frame = await self._channel.receive()
                if isinstance(frame, Answer):
                    waiter = self._answers.pop(frame.number, None)
                    if waiter is not None:
                        waiter.send_nowait(frame.body)
                elif isinstance(frame, Borrow):
                    await self._channel.send(lender.lend(frame, trio.current_time()))
                else:
                    await self._send_report.send(frame)
        except ChannelClosedError:
            pass
        finally:
            self._send_report.close()
            for waiter in self._answers.values():
                waiter.close()
            self._answers.clear()

    async def start(self, bootstrap: Bootstrap) -> None:
        """Sends the first frame and waits until the lane runs; raises WorkerFailedError."""
        await self._order(Start(self.number, bootstrap))
        await self._report(Ready, READY_S)

    async def give_sockets(self, sockets: dict[str, socket.socket]) -> None:
        """Passes listening sockets, a bounded number per frame."""
        names = list(sockets)
        for begin in range(0, len(names), MAX_DESCRIPTORS):
            part = names[begin : begin + MAX_DESCRIPTORS]
            await self._order(Listeners(tuple(part)), [sockets[name] for name in part])

    async def update(self, live: LiveUpdate) -> None:
        """Passes live data."""
        await self._order(live)

    async def prepare(self, generation: int, slice_: Slice) -> Prepared:
        """Sends what the worker lacks, has it prepare, and returns how that went; raises WorkerFailedError."""
        for batch in blob_batches(slice_, set(self._held)):
            await self._order(batch)
        self._held = self._running | frozenset(slice_blobs(slice_.index))
        await self._order(Prepare(generation, slice_.snapshot, slice_.entry, slice_.index))
        prepared = await self._report(Prepared, PREPARE_S)
        if prepared.reason:
            self._held = self._running
        return prepared

    async def abandon(self, generation: int) -> None:
        """Has it drop what it prepared."""
        await self._order(Abandon(generation))
        self._held = self._running

    async def swap(self, generation: int, slice_: Slice) -> Swapped:
        """Has it serve what it prepared; raises WorkerFailedError."""
        await self._order(Swap(generation))
        swapped = await self._report(Swapped, SWAP_S)
        self._held = self._running = frozenset(slice_blobs(slice_.index))
        return swapped

    async def ask(self, page: str) -> bytes | None:
        """One page of its state, or None where it does not answer in time."""
        self._asked += 1
        number = self._asked
        send, receive = trio.open_memory_channel[bytes](1)
        self._answers[number] = send
        try:
            with trio.fail_after(ANSWER_S):
                await self._channel.send(Ask(number, page))
                return await receive.receive() or None
        except (ChannelClosedError, trio.TooSlowError, trio.EndOfChannel):
            return None
        finally:
            self._answers.pop(number, None)

    async def drain(self, deadline_s: float) -> None:
        """Has it finish what is in flight; returns when it is done, gone, or too late."""
        with contextlib.suppress(WorkerFailedError):
            await self._order(Drain(deadline_s))
            await self._report(Drained, deadline_s + 2.0)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def hold(self) -> tuple[int, bytes]:
        """See Channel.hold."""
        return await self._channel.hold()

    def let_go(self) -> None:
        """See Channel.release."""
        self._channel.release()

    def kill(self) -> None:
        """Ends the process now."""
        self.process.kill()

    def close(self) -> None:
        """Closes this end; the worker then ends by itself."""
        self._channel.close()

    async def _order(self, frame: Frame, sockets: Sequence[socket.socket] = ()) -> None:
        try:
            await self._channel.send(frame, sockets)
        except ChannelClosedError as error:
            raise WorkerFailedError(f"worker {self.number} is gone ({error})") from None

    async def _report(self, shape: type[T], limit_s: float) -> T:
        try:
            with trio.fail_after(limit_s):
                while True:
                    frame = await self._reports.receive()
                    if isinstance(frame, shape):
                        return frame
        except trio.TooSlowError:
            raise WorkerFailedError(f"worker {self.number} did not answer within {limit_s:g} s") from None
        except trio.EndOfChannel:
            raise WorkerFailedError(f"worker {self.number} ended") from None


async def spawn(number: int, command: Sequence[str]) -> WorkerProcess:
    """Starts a worker process; ``command`` gets the descriptor's number as its last argument."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            [*command, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
    return WorkerProcess(number, process, Channel(ours))
