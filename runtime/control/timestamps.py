"""Keeps the store's timestamp fresh: re-signed at half its life with the online keys, so that a frozen store is the exception that alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import trio

from snapshot.store import Conflict, StoreError
from snapshot.trust.failure import Untrusted
from snapshot.trust.keys import KeyProblem
from snapshot.trust.layout import LIFETIMES, ONLINE_ROLES

CHECK_S = 60.0
"""How often the ends of the signatures are looked at; also how soon a failed renewal is tried again."""

log = logging.getLogger("weft.control")


class TimestampSigner:
    """Renews what is due. ``expires`` says when each role's signature ends, ``sign`` renews (it blocks), None where no keys are at hand."""

    def __init__(
        self,
        expires: Callable[[], Mapping[str, float]],
        sign: Callable[[], object] | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.signed = 0
        self.failed = 0
        self.problem = ""
        self._expires = expires
        self._sign = sign
        self._clock = clock

    def is_due(self) -> bool:
        """Whether a role that is signed online has less than half of its life left. An empty store has nothing to renew."""
        now = self._clock()
        ends = self._expires()
        return any(ends[role] - now < LIFETIMES[role].total_seconds() / 2 for role in ONLINE_ROLES if role in ends)

    async def sign_forever(self, written: Callable[[], object]) -> None:
        """Renews whenever it is due and calls ``written``. Runs until cancelled; without keys there is nothing to do."""
        while self._sign is not None:
            if self.is_due():
                await self.renew(self._sign)
                written()
            await trio.sleep(CHECK_S)

    async def renew(self, sign: Callable[[], object]) -> None:
        """Renews once. A failure is counted, said in ``problem`` and left for the next check."""
        try:
            await trio.to_thread.run_sync(sign)
        except Conflict:
            # A publisher came first, and renewed what we were about to.
            return
        except (StoreError, Untrusted, KeyProblem) as error:
            self.failed += 1
            self.problem = f"the timestamp was not renewed: {error}"
            log.warning("%s", self.problem)
            return
        self.signed += 1
        self.problem = ""
        log.info("renewed the store's timestamp")
