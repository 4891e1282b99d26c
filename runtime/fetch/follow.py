"""Following a store: look, verify, tell, keep; again when it changes. This file is the spine of fetching.

    changes -> Session.refresh (thread) -> VerifiedSlice or FetchProblem -> Session.persist (thread)

A problem never ends the loop and never takes back what was told: the last verified slice goes on serving.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap
from runtime.fetch.changes import Changes, next_delay_s
from runtime.fetch.news import FetchProblem, News, VerifiedSlice
from runtime.fetch.session import Now, Session, wall_clock
from snapshot.store import Store, StoreError
from snapshot.stores import open_store
from snapshot.trust.failure import Reason, Untrusted

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

    A VerifiedSlice is sent for every new release, and again (same ``release.version``) when a problem is over. A FetchProblem is sent
    once per change of reason or message. The first news comes from the store; where the store fails, the problem comes first and then
    the slice saved by an earlier run, if it verifies. ``task_status.started()`` is called after that first look. Raises StoreError only
    for a bootstrap that names no store; everything later is news.
    """
    opened = store or open_store(bootstrap.store, ca=bootstrap.control_ca)
    changes = Changes(opened)
    with tempfile.TemporaryDirectory(prefix="weft-trust-", ignore_cleanup_errors=True) as folder:
        follower = _Follower(Session(bootstrap, opened, Path(folder), now=now), send)
        async with send, trio.open_nursery() as nursery:
            nursery.start_soon(changes.watch, bootstrap.poll_s)
            await follower.start()
            task_status.started()
            while True:
                await changes.wait_due(next_delay_s(bootstrap.poll_s, follower.failures, random.random()))  # noqa: S311  jitter
                await follower.look()


class _Follower:
    """Owns what was told last, so that nothing is told twice. ``failures`` counts failed looks in a row."""

    def __init__(self, session: Session, send: trio.MemorySendChannel[News]) -> None:
        self.failures = 0
        self._session = session
        self._send = send
        self._told_version = 0
        self._unsaved = False
        self._problem: FetchProblem | None = None

    async def start(self) -> None:
        """Restores the saved slice, which is told only where the store has nothing better to say."""
        restored = await self._attempt(self._session.restore)
        await self.look()
        if isinstance(restored, VerifiedSlice) and not self._told_version:
            await self._tell(restored)

    async def look(self) -> None:
        """Looks at the store once, tells what is new and keeps it on disk, again and again until the disk takes it."""
        outcome = await self._attempt(self._session.refresh)
        if isinstance(outcome, FetchProblem):
            self.failures += 1
            return
        self.failures = 0
        told = outcome is not None and await self._tell(outcome)
        self._unsaved = self._unsaved or outcome is not None
        if self._unsaved and isinstance(await self._attempt(self._session.persist), FetchProblem):
            return
        self._unsaved = False
        recovered, self._problem = self._problem is not None, None
        if recovered and not told and self._session.verified is not None:
            await self._send.send(self._session.verified)

    async def _attempt(self, step: Step) -> VerifiedSlice | FetchProblem | None:
        """Runs one blocking step in a thread (abandoned on cancellation; it only reads, or replaces one file whole)."""
        try:
            return await trio.to_thread.run_sync(step, abandon_on_cancel=True)
        except Untrusted as error:
            problem = FetchProblem(error.reason, str(error))
        except StoreError as error:
            problem = FetchProblem(Reason.UNREACHABLE, str(error))
        if problem != self._problem:
            self._problem = problem
            await self._send.send(problem)
        return problem

    async def _tell(self, verified: VerifiedSlice) -> bool:
        """Sends a release that was not told yet; returns whether it was one."""
        if verified.release.version == self._told_version:
            return False
        self._told_version = verified.release.version
        await self._send.send(verified)
        return True
