"""Names that only a request knows: passthrough destinations, resolved when asked for and kept for a short while."""

from __future__ import annotations

import socket

import trio

KEEP_S = 30.0
KEEP_FAILURE_S = 2.0
TIMEOUT_S = 5.0
MAX_NAMES = 1024


class NameCache:
    """Addresses by (host, port). Owns what it has resolved; a name is looked up once however many requests wait for it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[tuple[str, int], trio.Event] = {}

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a name, IPv4 first; none where it does not resolve within TIMEOUT_S."""
        key = (host, port)
        while key in self._asking:
            await self._asking[key].wait()
        known = self._known.get(key)
        if known is not None and known[0] > trio.current_time():
            return known[1]
        done = self._asking[key] = trio.Event()
        try:
            found = await self._look_up(host, port)
        finally:
            del self._asking[key]
            done.set()
        if len(self._known) >= MAX_NAMES:
            self._known.clear()
        self._known[key] = (trio.current_time() + (KEEP_S if found else KEEP_FAILURE_S), found)
        return found

    async def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        with trio.move_on_after(TIMEOUT_S):
            try:
                rows = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError:
                return ()
            rows.sort(key=lambda row: row[0] != socket.AF_INET)
            return tuple(dict.fromkeys(str(row[4][0]) for row in rows))
        return ()
