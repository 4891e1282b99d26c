"""DNS for the clusters that name hosts: resolved before a slice serves, and again and again while it does. Never in a worker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable

import trio

from snapshot.live import Resolved

REFRESH_S = 5.0
"""The system's resolver does not tell a record's time to live, so names are asked for as often as Envoy does then. The resolver's own cache
keeps to the time to live."""

FIRST_ANSWER_S = 2.0
"""How long a new slice waits for the first answers; later ones follow while it serves."""

ATTEMPT_S = 5.0
AT_ONCE = 16
MAX_ADDRESSES = 64

Name = tuple[str, int]
LookUp = Callable[[str, int], Awaitable[list[str]]]

log = logging.getLogger("weft.proxy")


async def look_up(host: str, port: int) -> list[str]:
    """All addresses of a name, both families; raises OSError (``socket.gaierror``)."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Names:
    """Owns what DNS said last of each name that the serving slice uses."""

    def __init__(self, *, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._known: dict[Name, Resolved] = {}
        self._wanted: frozenset[Name] = frozenset()
        self._refresh_s = REFRESH_S
        self._slots = trio.CapacityLimiter(AT_ONCE)

    def all(self) -> tuple[Resolved, ...]:
        """Every answer, by name."""
        return tuple(self._known[name] for name in sorted(self._known))

    async def want(self, names: frozenset[Name]) -> None:
        """Resolves names that are new, for at most FIRST_ANSWER_S, and remembers which are of use."""
        self._wanted = self._wanted | names
        with trio.move_on_after(FIRST_ANSWER_S):
            await self._resolve(names - self._known.keys())

    def only(self, names: frozenset[Name], *, refresh_s: float = REFRESH_S) -> None:
        """Forgets what no slice uses any more, and resolves the rest so often."""
        self._wanted = names
        self._refresh_s = refresh_s
        self._known = {name: answer for name, answer in self._known.items() if name in names}

    async def refresh_forever(self, emit: Callable[[tuple[Resolved, ...]], Awaitable[None]]) -> None:
        """Resolves all names again and again (new ones that had no answer sooner) and emits when an answer changed."""
        while True:
            await self._rest()
            before = self.all()
            await self._resolve(self._wanted)
            if self.all() != before:
                await emit(self.all())

    async def _rest(self) -> None:
        """Waits until names are due, also where a new slice asks for that sooner, or brings one that does not answer."""
        began = trio.current_time()
        while True:
            unanswered = any(name not in self._known for name in self._wanted)
            wanted_s = FIRST_ANSWER_S if unanswered else self._refresh_s
            left_s = began + wanted_s - trio.current_time()
            if left_s <= 0:
                return
            await trio.sleep(min(left_s, REFRESH_S))

    async def _resolve(self, names: Iterable[Name]) -> None:
        async with trio.open_nursery() as nursery:
            for name in sorted(names):
                nursery.start_soon(self._resolve_one, name)

    async def _resolve_one(self, name: Name) -> None:
        host, port = name
        async with self._slots:
            try:
                with trio.fail_after(ATTEMPT_S):
                    addresses = tuple(dict.fromkeys(await self._look_up(host, port)))[:MAX_ADDRESSES]
            except socket.gaierror as error:
                if error.errno != socket.EAI_NONAME:
                    # The resolver failed, the name did not: what it said last is the best there is.
                    return
                addresses = ()
            except (OSError, UnicodeError, trio.TooSlowError):
                return
        if not addresses and name in self._known and self._known[name].addresses:
            log.warning("%s does not resolve any more", host)
        self._known[name] = Resolved(host, port, addresses)
