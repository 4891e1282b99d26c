"""The supervision point of the supervisor's own tasks: what nobody expected costs a new start of one task, never the proxy."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

RESTART_S = 5.0

Task = Callable[[], Awaitable[None]]

log = logging.getLogger("weft.proxy")


async def keep_running(name: str, task: Task) -> None:
    """Runs a task until it returns or is cancelled; starts it again RESTART_S after an exception, which is logged."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("%s failed because of a bug; it starts again in %g s", name, RESTART_S)
            await trio.sleep(RESTART_S)
        else:
            return
