"""The workers together: one slice in all of them or in none, and always as many as there should be.

A deployment has one commit point: when every worker has prepared, the new slice becomes the fleet's slice and the swaps are sent. A worker
that dies before it makes the deployment fail and the old slice stay; one that dies after it comes back with the new slice.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from runtime.bootstrap import Bootstrap
from runtime.ipc import LiveUpdate, Prepared
from runtime.limits.lender import Lender
from runtime.supervisor.handover import HandedWorker
from runtime.supervisor.predecessor import Predecessor
from runtime.supervisor.sockets import Address, Sockets
from runtime.supervisor.worker_process import WorkerFailedError, WorkerProcess, spawn
from snapshot.index import Slice

WORKER_COMMAND = (sys.executable, "-P", "-m", "runtime.worker")
ALL_UP_S = 30.0
RETIRE_S = 30.0
"""How long workers of the program before may take to finish what they have."""

CRASHES = 5
CRASH_WINDOW_S = 10.0
CRASH_LOOP_WAIT_S = 10.0

log = logging.getLogger("weft.proxy")


class Outcome(msgspec.Struct, frozen=True):
    """How a deployment ended. ``reason`` is "" where all workers serve the new slice. Durations are the slowest worker's."""

    reason: str = ""
    message: str = ""
    source: str = ""
    prepare_ms: float = 0.0
    pause_ms: float = 0.0


class Fleet:
    """Owns the worker processes, the slice they serve, the sockets that it needs and the newest live data."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        sockets: Sockets,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        predecessors: Sequence[Predecessor] = (),
    ) -> None:
        self.restarts = 0
        self._predecessors = list(predecessors)
        self._retire = trio.Event()
        self._retire_s = RETIRE_S
        self._bootstrap = bootstrap
        self._sockets = sockets
        self._command = command
        self._up: dict[int, WorkerProcess] = {}
        self._all_up = trio.Event()
        self._slice: Slice | None = None
        self._names: frozenset[str] = frozenset()
        self._live = LiveUpdate()
        self._generation = 0
        self._stopping = False
        self._lender = Lender(workers=bootstrap.workers)
        # Deployments, live data and the start of a worker exclude each other, so that no worker misses one.
        self._turn = trio.Lock()

    @property
    def outlived(self) -> int:
        """How many workers of the program before still live."""
        return len(self._predecessors)

    @property
    def workers_up(self) -> int:
        """How many workers serve now."""
        return len(self._up)

    def pids(self) -> dict[int, int]:
        """The process ids of the workers that are up, by number."""
        return {number: worker.process.pid for number, worker in sorted(self._up.items())}

    async def run(self) -> None:
        """Keeps all workers alive until cancelled; then ends them."""
        async with trio.open_nursery() as nursery:
            for number in range(self._bootstrap.workers):
                nursery.start_soon(self._keep_alive, number)
            for predecessor in list(self._predecessors):
                nursery.start_soon(self._outlive, predecessor)

    async def _outlive(self, predecessor: Predecessor) -> None:
        await predecessor.live(self._lender, self._retire, self._retire_s)
        self._predecessors.remove(predecessor)

    async def deploy(self, slice_: Slice, wanted: dict[str, Address]) -> Outcome:
        """Prepares a slice in every worker and swaps them all, or none. ``wanted`` must be bound already."""
        with trio.move_on_after(ALL_UP_S) as waiting:
            await self._all_up.wait()
        if waiting.cancelled_caught:
            return Outcome("worker", f"only {len(self._up)} of {self._bootstrap.workers} workers are up")
        async with self._turn:
            workers = list(self._up.values())
            self._generation += 1
            prepared = await self._prepare_all(workers, slice_, frozenset(wanted) - self._names)
            failed = next((one for one in prepared if one.reason), None)
            if failed is not None or len(workers) < self._bootstrap.workers:
                await self._abandon_all(workers, prepared)
                if failed is None:
                    return Outcome("worker", "a worker ended before the slice was prepared")
                return Outcome(failed.reason, failed.message, failed.source)
            self._slice, self._names = slice_, frozenset(wanted)
            pause = await self._swap_all(workers, slice_)
            self._retire.set()
            return Outcome(prepare_ms=max(one.duration_ms for one in prepared), pause_ms=pause)

    async def update(self, live: LiveUpdate) -> None:
        """Passes live data to all workers, and keeps it for those to come."""
        async with self._turn:
            changes = {name: value for name in live.__struct_fields__ if (value := getattr(live, name)) is not None}
            self._live = msgspec.structs.replace(self._live, **changes)
            self._names -= frozenset(live.closed or ())
            for worker in list(self._up.values()):
                try:
                    await worker.update(live)
                except WorkerFailedError:
                    worker.kill()

    async def ask(self, page: str) -> list[bytes]:
        """One page from every worker that answers."""
        answers: dict[int, bytes] = {}

        async def ask_one(worker: WorkerProcess) -> None:
            body = await worker.ask(page)
            if body is not None:
                answers[worker.number] = body

        async with trio.open_nursery() as nursery:
            for worker in list(self._up.values()):
                nursery.start_soon(ask_one, worker)
        return [answers[number] for number in sorted(answers)]

    async def native(self, path: str, query: dict[str, str], *, method: str = "GET") -> tuple[int, bytes] | None:
        """Nothing: all pages of our own engine are made by the supervisor."""
        del path, query, method
        return None

    async def more_metrics(self) -> bytes:
        """Nothing: what workers measure they tell by the page ``metrics``."""
        return b""

    async def drain(self, deadline_s: float) -> None:
        """Has all workers finish what is in flight; returns when all have, or at the deadline."""
        self._stopping = True
        self._retire.set()
        async with trio.open_nursery() as nursery:
            for worker in list(self._up.values()):
                nursery.start_soon(worker.drain, deadline_s)
        while self.outlived:  # noqa: ASYNC110  once in a process's life, and the caller has a deadline
            await trio.sleep(0.05)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[tuple[HandedWorker, ...]]:
        """The workers as they can be handed over: nothing is deployed and no frame is half sent while this is open."""
        async with self._turn:
            held: list[WorkerProcess | Predecessor] = [*self._up.values(), *self._predecessors]
            handed = []
            for worker in held:
                channel, pending = await worker.hold()
                handed.append(HandedWorker(worker.number, worker.pid, channel, pending, worker.draining))
            try:
                yield tuple(handed)
            finally:
                for worker in held:
                    worker.let_go()

    async def _prepare_all(self, workers: list[WorkerProcess], slice_: Slice, fresh: frozenset[str]) -> list[Prepared]:
        generation = self._generation
        prepared: list[Prepared] = []

        async def prepare(worker: WorkerProcess) -> None:
            try:
                await worker.give_sockets(self._sockets.of_worker(worker.number, sorted(fresh)))
                prepared.append(await worker.prepare(generation, slice_))
            except WorkerFailedError as error:
                worker.kill()
                prepared.append(Prepared(generation, 0.0, "worker", str(error)))

        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(prepare, worker)
        return prepared

    async def _abandon_all(self, workers: list[WorkerProcess], prepared: list[Prepared]) -> None:
        if all(one.reason for one in prepared):
            return
        for worker in workers:
            try:
                await worker.abandon(self._generation)
            except WorkerFailedError:
                worker.kill()

    async def _swap_all(self, workers: list[WorkerProcess], slice_: Slice) -> float:
        pauses = [0.0]

        async def swap(worker: WorkerProcess) -> None:
            try:
                pauses.append((await worker.swap(self._generation, slice_)).pause_ms)
            except WorkerFailedError as error:
                log.warning("%s while swapping; it comes back with the new slice", error)
                worker.kill()

        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(swap, worker)
        return max(pauses)

    async def _keep_alive(self, number: int) -> None:
        crashes: deque[float] = deque(maxlen=CRASHES)
        while not self._stopping:
            await self._run_worker(number)
            if self._stopping:
                return
            now = trio.current_time()
            crashes.append(now)
            self.restarts += 1
            looping = len(crashes) == CRASHES and now - crashes[0] <= CRASH_WINDOW_S
            if looping:
                log.error(
                    "worker %d ended %d times in %g s: waiting %g s", number, CRASHES, CRASH_WINDOW_S, CRASH_LOOP_WAIT_S
                )
            # The first restart is at once; each further one of a row waits a little more.
            wait = CRASH_LOOP_WAIT_S if looping else min(0.1 * (len(crashes) - 1), 0.5)
            await trio.sleep(wait if now - crashes[0] <= CRASH_WINDOW_S else 0.0)

    async def _run_worker(self, number: int) -> None:
        """One life of one worker: from its process's start to its end."""
        try:
            worker = await spawn(number, self._command)
        except OSError as error:
            log.error("worker %d cannot be started: %s", number, error)  # noqa: TRY400  the machine's reason is all there is
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.read_reports, self._lender)
                try:
                    await self._bring_up(worker)
                except WorkerFailedError as error:
                    log.warning("worker %d did not come up: %s", number, error)
                    worker.kill()
                status = await worker.process.wait()
                nursery.cancel_scope.cancel()
            if not self._stopping:
                log.warning("worker %d (pid %d) ended with status %d", number, worker.process.pid, status)
        finally:
            self._drop(worker)
            worker.close()
            with trio.CancelScope(shield=True):
                # It is killed and reaped also when this task is cancelled: a worker never outlives its supervisor.
                worker.kill()
                await worker.process.wait()

    async def _bring_up(self, worker: WorkerProcess) -> None:
        await worker.start(self._bootstrap)
        async with self._turn:
            await worker.update(self._live)
            await worker.give_sockets(self._sockets.of_worker(worker.number, sorted(self._names)))
            if self._slice is not None:
                self._generation += 1
                prepared = await worker.prepare(self._generation, self._slice)
                if prepared.reason:
                    raise WorkerFailedError(f"it cannot prepare the serving slice: {prepared.message}")
                await worker.swap(self._generation, self._slice)
            self._up[worker.number] = worker
            if len(self._up) == self._bootstrap.workers:
                self._all_up.set()

    def _drop(self, worker: WorkerProcess) -> None:
        if self._up.get(worker.number) is worker:
            del self._up[worker.number]
        if self._all_up.is_set() and len(self._up) < self._bootstrap.workers:
            self._all_up = trio.Event()
