"""Following a store: look, verify, tell, keep; again when it changes. This file is the spine of fetching.

    changes -> Session.refresh (thread) -> VerifiedSlice or FetchProblem
                                        -> Session.persist (thread, beside the next look)

A problem never ends the loop and never takes back what was told: the last verified slice goes on serving.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from runtime.bootstrap import Bootstrap
from runtime.fetch.changes import Changes, next_delay_s
from runtime.fetch.folder import private_folder
from runtime.fetch.news import FetchProblem, News, VerifiedSlice
from runtime.fetch.session import Now, Session, wall_clock
from snapshot.store import Store, StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Reason, Untrusted

KEEP_AFTER_S = 1.0
KEEP_SPREAD_S = 1.0
"""From a verified slice to its way onto the disk, and by how much more that may be, at random: the sidecars of one machine get a release at the
same moment, and their disk writes may neither hold up its way to live nor meet. A crash in between starts with the slice before, as one a moment
earlier would have."""
LAST_KEEP_S = 2.0
REST_S = 0.2
"""From news to the next question to a server: what was told goes live first, and so do the other proxies that heard of it at the same moment."""

Step = Callable[[], VerifiedSlice | None]


async def follow(
    bootstrap: Bootstrap,
    send: trio.MemorySendChannel[News],
    *,
    store: Store | None = None,
    now: Now = wall_clock,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Sends news of the bootstrap's channel until cancelled, and closes ``send``.

    A VerifiedSlice is sent for every new release, and again (same ``release.version``) when its signatures were renewed or a problem is
    over. A FetchProblem is sent when its reason or message changes, and after a slice where it still holds. The first news comes from
    the store; where the store fails, the problem comes first and then the slice saved by an earlier run, if it verifies.
    ``task_status.started()`` is called after that first look. A ``store`` that is given is closed at the end too. Raises StoreError only
    for a bootstrap that names no store; everything later is news.
    """
    opened = store or open_store(bootstrap.store, ca=bootstrap.control_ca)
    changes = Changes(opened)
    with private_folder() as folder:
        follower = Follower(Session(bootstrap, opened, folder, now=now), send)
        async with send, trio.open_nursery() as nursery:
            nursery.start_soon(changes.watch, bootstrap.poll_s)
            try:
                await follower.start()
                nursery.start_soon(follower.keep_forever, bootstrap.poll_s)
                task_status.started()
                while True:
                    # A store that held its last answer back has done the waiting.
                    pause_s = next_delay_s(bootstrap.poll_s, follower.failures, random.random())  # noqa: S311  jitter
                    await changes.wait_due(max(pause_s - follower.looked_s, follower.rest_s))
                    await follower.look()
            finally:
                follower.end()


class Follower:
    """Owns the session, and what was told last. ``failures`` counts failed looks in a row, ``looked_s`` is how long the last one took,
    ``rest_s`` how long the next one has time where nothing rings before.

    Looking and keeping are two tasks, each with a problem of its own: a disk that takes seconds may not hold up the next release.
    """

    def __init__(self, session: Session, send: trio.MemorySendChannel[News]) -> None:
        self.failures = 0
        self.looked_s = 0.0
        self.rest_s = 0.0
        self._session = session
        self._send = send
        self._unkept = trio.Event()
        self._rootless = False
        # A look may wait for seconds on a store, and a write on a disk: each has a thread that no other waiting can take.
        self._looking, self._keeping = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._look_problem: FetchProblem | None = None
        self._keep_problem: FetchProblem | None = None
        self._lock = threading.Lock()
        self._in_thread = False
        self._ended = False

    async def start(self) -> None:
        """Restores the saved slice, which is told only where the store has nothing better to say."""
        restored = await self._attempt(self._session.restore)
        self._rootless = isinstance(restored, FetchProblem) and restored.reason is Reason.UNKNOWN_ROOT
        if not await self.look() and isinstance(restored, VerifiedSlice):
            await self._send.send(restored)

    async def look(self) -> bool:
        """Looks at the store once and tells what is new, or what was verified last where a problem is over; whether any was told."""
        begin = trio.current_time()
        # After a problem the first answer is itself the news, so the store must not hold it back.
        refresh = partial(self._session.refresh, wait_s=0.0) if self._look_problem else self._session.refresh
        outcome = await self._attempt(refresh)
        self.looked_s = trio.current_time() - begin
        if isinstance(outcome, FetchProblem):
            self.failures += 1
            self.rest_s = 0.0
            return await self._restore_late()
        self.failures = 0
        self.rest_s = REST_S if outcome is not None else 0.0
        recovered, self._look_problem = self._look_problem is not None, None
        if outcome is not None:
            self._unkept.set()
        news = outcome or (self._session.verified if recovered else None)
        if news is not None:
            await self._tell(news)
        return news is not None

    async def _restore_late(self) -> bool:
        """Takes up the saved slice where the root of trust was missing at the start and is there now, but the store is not; whether that was told."""
        if not self._rootless or not self._session.has_root():
            return False
        self._rootless = False
        restored = await self._attempt(self._session.restore)
        if not isinstance(restored, VerifiedSlice):
            return False
        await self._tell(restored)
        return True

    async def keep_forever(self, poll_s: float) -> None:
        """Keeps on disk what was verified last, and tries again at a slowing pace until the disk takes it. Runs until cancelled; what is
        not kept then is kept on the way out, as far as LAST_KEEP_S allow."""
        try:
            await self._keep_each(poll_s)
        finally:
            if self._unkept.is_set():
                with trio.move_on_after(LAST_KEEP_S, shield=True), suppress(Untrusted):
                    await trio.to_thread.run_sync(self._session.persist, abandon_on_cancel=True, limiter=self._keeping)

    async def _keep_each(self, poll_s: float) -> None:
        while True:
            await self._unkept.wait()
            # What was told is at work first, and releases in a row are written once.
            await trio.sleep(KEEP_AFTER_S + KEEP_SPREAD_S * random.random())  # noqa: S311  spread
            self._unkept = trio.Event()
            failures = 0
            while not await self._keep():
                failures += 1
                await trio.sleep(next_delay_s(poll_s, failures, random.random()))  # noqa: S311  jitter

    def end(self) -> None:
        """Closes the store, or leaves that to the thread that is still waiting for it: a socket may not be closed under a reader."""
        with self._lock:
            self._ended = True
            if not self._in_thread:
                self._session.store.close()

    async def _keep(self) -> bool:
        """Writes the state once (in a thread that may be abandoned: it replaces one file whole) and tells what becomes of it."""
        try:
            await trio.to_thread.run_sync(self._session.persist, abandon_on_cancel=True, limiter=self._keeping)
        except Untrusted as error:
            held, self._keep_problem = self._keep_problem, FetchProblem(error.reason, str(error))
            if self._keep_problem != held:
                await self._send.send(self._keep_problem)
            return False
        recovered, self._keep_problem = self._keep_problem is not None, None
        if recovered and self._session.verified is not None:
            await self._tell(self._session.verified)
        return True

    async def _tell(self, verified: VerifiedSlice) -> None:
        """A slice says that all is well, so what is still wrong must be told after it."""
        await self._send.send(verified)
        for problem in (self._look_problem, self._keep_problem):
            if problem is not None:
                await self._send.send(problem)

    async def _attempt(self, step: Step) -> VerifiedSlice | FetchProblem | None:
        """Runs one blocking step at the store in a thread (abandoned on cancellation; it only reads)."""
        try:
            return await trio.to_thread.run_sync(self._run, step, abandon_on_cancel=True, limiter=self._looking)
        except Untrusted as error:
            problem = FetchProblem(error.reason, str(error))
        except StoreError as error:
            problem = FetchProblem(Reason.UNREACHABLE, str(error))
        if problem != self._look_problem:
            self._look_problem = problem
            await self._send.send(problem)
        return problem

    def _run(self, step: Step) -> VerifiedSlice | None:
        with self._lock:
            self._in_thread = True
        try:
            return step()
        finally:
            with self._lock:
                self._in_thread = False
                if self._ended:
                    self._session.store.close()
