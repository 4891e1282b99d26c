"""The task that asks the application, for as long as the serving slice has a probe."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from policies.probe import Probe
from runtime.bootstrap import Bootstrap
from runtime.health.asking import ask
from runtime.health.streak import Streak

Ask = Callable[[Probe, Bootstrap], Awaitable[str]]

log = logging.getLogger("weft.proxy")


class Prober:
    """Owns the verdict. ``problem`` is why the application cannot take requests, "" where it can or nothing asks."""

    def __init__(self, bootstrap: Bootstrap, *, ask: Ask = ask) -> None:
        self.problem = ""
        self._bootstrap = bootstrap
        self._ask = ask
        self._probe: Probe | None = None
        self._changed = trio.Event()

    def use(self, probe: Probe | None) -> None:
        """Asks by this probe from now on. A new one starts with the verdict that nothing has answered yet."""
        if probe == self._probe:
            return
        self._probe = probe
        self.problem = "the application has not answered its readiness probe yet" if probe is not None else ""
        self._changed.set()

    async def run(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Asks until cancelled; ``tell`` is called whenever the verdict has changed."""
        while True:
            self._changed = changed = trio.Event()
            async with trio.open_nursery() as nursery:
                if self._probe is not None:
                    nursery.start_soon(self._follow, self._probe, tell)
                await changed.wait()
                nursery.cancel_scope.cancel()

    async def _follow(self, probe: Probe, tell: Callable[[], Awaitable[None]]) -> None:
        streak = Streak(successes=probe.successes, failures=probe.failures)
        await trio.sleep(probe.initial_delay_ms / 1000)
        while True:
            begun = trio.current_time()
            wrong = await self._ask(probe, self._bootstrap)
            if streak.observe(good=not wrong):
                self.problem = f"the application's readiness probe fails: {wrong}" if wrong else ""
                log.info("%s", self.problem or "the application answers its readiness probe")
                await tell()
            await trio.sleep_until(begun + probe.period_ms / 1000)
