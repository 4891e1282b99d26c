"""The loop: an epoll set of its own, itself waited on through Trio, drained in rounds that are bounded in events and in time.

Level-triggered: what a round leaves undone is reported again, so stopping early loses nothing. Sockets that close during a round keep their
descriptor until its end, or an event of the old socket would reach a new one with the same number.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from typing import Protocol

import trio

from runtime.lane.wheel import Timer, Wheel

MAX_EVENTS = 128
ROUND_S = 0.002
"""A round ends after this time even with events left: one handshake costs over a millisecond, and Trio's other tasks must run."""
BUSY_S = 0.002
"""Rounds go on without giving way for so long, while each finds events at once; a checkpoint costs as much as several requests' system calls."""
WATCH_S = 0.001
"""How long the lane waits for its sockets by itself before it waits through Trio, which costs as much as three requests' system calls. Under
load, and while an upstream answers at once, the next event comes sooner; other tasks wait so much longer at most."""
STEPS_S = 0.01
"""So long after a step of prepare the lane does not wait by itself: the next step is due."""
SHORT_S = 0.001
"""Below, nobody asks what a round's time was spent on: the question costs as much as a system call."""

log = logging.getLogger("weft.lane")


class Source(Protocol):
    """What the lane calls when a descriptor is ready: a Channel, or a listening socket's Acceptor."""

    def on_event(self, mask: int) -> None:
        """The descriptor is ready for what ``mask`` says (EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP)."""

    def abort(self) -> None:
        """Close at once: a bug was caught while this source was served."""


class Lane:
    """One worker's lane. Owns the epoll set, the registered sources, the wheel, and the sockets that wait to be closed.

    ``now`` is Trio's time at the start of the round. ``max_pause_s`` is the longest time that anything kept the lane from its sockets, by the
    clock on the wall; ``max_work_s`` the most CPU that this thread used meanwhile. Where the first is long and the second is not, the
    machine gave the core to somebody else.
    """

    def __init__(self) -> None:
        self.wheel = Wheel()
        self.now = 0.0
        self.bugs = 0
        self.max_pause_s = 0.0
        self.max_work_s = 0.0
        self._woken_cpu_s = 0.0
        self._stepped_at = 0.0
        self._epoll = select.epoll()
        self._sources: dict[int, Source] = {}
        self._closing: list[socket] = []
        self._soon: list[Callable[[], None]] = []

    # --- registration --------------------------------------------------------------------------------------------------------

    def register(self, fd: int, source: Source, mask: int) -> None:
        """Adds a descriptor; from now on the source is called for it."""
        self._sources[fd] = source
        self._epoll.register(fd, mask)

    def replace(self, fd: int, source: Source) -> None:
        """Another source takes over a registered descriptor."""
        self._sources[fd] = source

    def modify(self, fd: int, mask: int) -> None:
        """Changes what is waited for."""
        self._epoll.modify(fd, mask)

    def suspend(self, fd: int) -> None:
        """Takes a descriptor out of the set but keeps its source: a hung-up socket is reported as long as it is in."""
        self._epoll.unregister(fd)

    def resume(self, fd: int, mask: int) -> None:
        """Puts a suspended descriptor back."""
        self._epoll.register(fd, mask)

    def forget(self, sock: socket) -> None:
        """Removes a socket and closes it at the end of the round; closing takes it out of the epoll set without a call."""
        self._sources.pop(sock.fileno(), None)
        self._closing.append(sock)

    def release(self, sock: socket) -> None:
        """Removes a socket without closing it: somebody else owns it (a listener's socket is the supervisor's)."""
        if self._sources.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def soon(self, call: Callable[[], None]) -> None:
        """Calls once after the current round: for work that must not run inside its caller."""
        self._soon.append(call)

    def __len__(self) -> int:
        return len(self._sources)

    # --- running -------------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled. On the way out every connection is aborted and every socket closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.wheel.run, self._fire)
                task_status.started()
                await self._serve()
        finally:
            for source in list(self._sources.values()):
                source.abort()
            self._close_sockets()
            self._epoll.close()

    async def _serve(self) -> None:
        fd = self._epoll.fileno()
        poll = self._epoll.poll
        wait_readable = trio.lowlevel.wait_readable
        clock = time.perf_counter
        woken = clock()
        while True:
            events = poll(0, MAX_EVENTS)
            if not events:
                if self._closing or self._soon:
                    self._settle()
                    continue
                if clock() - self._stepped_at > STEPS_S:
                    events = poll(WATCH_S, MAX_EVENTS)
                if not events:
                    await wait_readable(fd)
                    woken, self._woken_cpu_s = clock(), time.thread_time()
                    continue
            ended = self.round(events)
            if ended - woken > BUSY_S:
                await trio.lowlevel.checkpoint()
                woken, cpu_s = clock(), time.thread_time()
                if woken - ended > SHORT_S:
                    self._note(woken - ended, cpu_s - self._woken_cpu_s)
                self._woken_cpu_s = cpu_s

    def round(self, events: list[tuple[int, int]]) -> float:
        """Serves one round of events, until ROUND_S have passed; the rest will be reported again. Says when it ended."""
        start = time.perf_counter()
        self.now = trio.current_time()
        get = self._sources.get
        clock = time.perf_counter
        end = start + ROUND_S
        for fd, mask in events:
            source = get(fd)
            if source is not None:
                try:
                    source.on_event(mask)
                except Exception as error:  # noqa: BLE001  the supervision point
                    self._bug(error, source)
                if clock() > end:
                    break
        if self._soon or self._closing:
            self._settle()
        ended = clock()
        if ended - start > SHORT_S:
            # What was used since the lane woke is at least what this round used.
            self._note(ended - start, time.thread_time() - self._woken_cpu_s)
        return ended

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around whatever keeps the lane from its sockets: a step of prepare, a swap, another task's turn."""
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self._stepped_at = time.perf_counter()
            self._note(self._stepped_at - start, time.thread_time() - cpu)

    def _note(self, seconds: float, work_s: float) -> None:
        self.max_pause_s = max(self.max_pause_s, seconds)
        self.max_work_s = max(self.max_work_s, min(seconds, work_s))

    def take_max_pause(self) -> tuple[float, float]:
        """The longest pause since the last call, and the most work in one, in seconds; they need not be the same pause."""
        longest = self.max_pause_s, self.max_work_s
        self.max_pause_s = self.max_work_s = 0.0
        return longest

    def call(self, function: Callable[[], None], owner: Source | None = None) -> None:
        """Enters the lane from another task of the same thread: the same supervision as an event, and the same clean-up after."""
        self.now = trio.current_time()
        try:
            function()
        except Exception as error:  # noqa: BLE001  the supervision point
            self._bug(error, owner)
        if self._soon or self._closing:
            self._settle()

    def _fire(self, timer: Timer, now: float) -> None:
        self.now = now
        self.call(timer.on_due)

    def _settle(self) -> None:
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                try:
                    call()
                except Exception as error:  # noqa: BLE001  the supervision point
                    self._bug(error, None)
        self._close_sockets()

    def _close_sockets(self) -> None:
        closing, self._closing = self._closing, []
        for sock in closing:
            sock.close()

    def _bug(self, error: Exception, source: Source | None) -> None:
        """A bug costs one connection, is counted, and is told with its traceback."""
        self.bugs += 1
        log.error("a connection was closed because of a bug", exc_info=error)
        if source is not None:
            try:
                source.abort()
            except Exception:
                log.exception("and could not even be aborted")
