"""The key sets that fill a slice's slots: fetched before it serves, refreshed while it does, kept on disk for a start without the network.

A set that cannot be fetched again holds for KEEP_S, then its slot is empty and its issuer's tokens are refused: who took over an issuer's name
must not profit from keys that nobody can take back any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import trio

from policies.tokens import KeySource
from runtime.identity.saved import write_whole
from runtime.issuers.fetching import KeyFetchError
from snapshot.decoding import json_decoder
from snapshot.live import FetchedKeys

REFRESH_S = 1200.0
"""How often a set is fetched anew (Istio)."""
RETRY_S = 15.0
"""How soon one that could not be had, or that lacks a key, is tried again."""
LISTEN_S = 5.0
"""How often is asked for slots whose keys some token did not fit."""
KEEP_S = 24 * 3600.0
FIRST_ANSWER_S = 2.0
"""How long a new slice waits for its first sets; later ones follow while it serves."""
AT_ONCE = 8

Fetch = Callable[[KeySource], Awaitable[bytes]]
Emit = Callable[[tuple[FetchedKeys, ...]], Awaitable[None]]

log = logging.getLogger("weft.proxy")


class _Held(msgspec.Struct):
    """A set as it was fetched last, and when (seconds since 1970)."""

    source: KeySource
    jwks: bytes
    fetched_at: float


class _Saved(msgspec.Struct):
    """What is on disk."""

    sets: tuple[_Held, ...]


class KeySets:
    """Owns what was fetched last of each slot. ``clock`` is the wall's."""

    def __init__(self, fetch: Fetch, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._file = folder / "keys.json"
        self._clock = clock
        self._held: dict[KeySource, _Held] = {}
        self._tried: dict[KeySource, float] = {}
        self._wanted: frozenset[KeySource] = frozenset()
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self._news = trio.Event()
        self._read = False
        self._suspected: frozenset[KeySource] = frozenset()
        self.failed_total = 0
        self.problems: dict[KeySource, str] = {}

    def all(self) -> tuple[FetchedKeys, ...]:
        """Every set that holds now, in the order of the slots."""
        oldest = self._clock() - KEEP_S
        return tuple(
            FetchedKeys(source, held.jwks)
            for source in sorted(self._wanted, key=_place)
            if (held := self._held.get(source)) is not None and held.fetched_at > oldest
        )

    def age_s(self) -> float:
        """How long ago the oldest of the sets was fetched; 0 where there is none."""
        times = [self._held[source].fetched_at for source in self._wanted & self._held.keys()]
        return max(0.0, self._clock() - min(times)) if times else 0.0

    async def want(self, sources: frozenset[KeySource]) -> None:
        """Fetches the sets of slots that are new, for at most FIRST_ANSWER_S, and remembers which are of use.

        An issuer that could not be asked before holds no further slice up.
        """
        if not sources:
            return
        self._load()
        self._wanted = self._wanted | sources
        with trio.move_on_after(FIRST_ANSWER_S):
            await self._fetch_all(sources - self._held.keys() - self._tried.keys())
        self._news.set()

    def only(self, sources: frozenset[KeySource]) -> None:
        """Forgets what no slice uses any more."""
        self._wanted = sources
        self._tried = {source: at for source, at in self._tried.items() if source in sources}
        self.problems = {source: problem for source, problem in self.problems.items() if source in sources}
        if self._held.keys() - sources:
            self._held = {source: held for source, held in self._held.items() if source in sources}
            self._save()

    def suspect(self, sources: Iterable[KeySource]) -> None:
        """Says that tokens come which the keys of some slots do not fit: they are fetched anew, at most every RETRY_S."""
        found = self._wanted & frozenset(sources)
        if not found <= self._suspected:
            self._suspected |= found
            self._news.set()

    async def listen_forever(self, ask: Callable[[], Awaitable[Iterable[KeySource]]]) -> None:
        """Asks for such slots every LISTEN_S, while there are any at all. Runs until cancelled."""
        while True:
            await trio.sleep(LISTEN_S)
            if self._wanted:
                self.suspect(await ask())

    async def refresh_forever(self, emit: Emit) -> None:
        """Fetches each set when it is due and emits when what holds has changed. Runs until cancelled."""
        told = self.all()
        while True:
            with trio.move_on_after(self._wait_s()):
                await self._news.wait()
            self._news = trio.Event()
            await self._fetch_all(source for source in self._wanted if self._due(source) <= self._clock())
            now = self.all()
            if now != told:
                await emit(now)
                told = now

    def _due(self, source: KeySource) -> float:
        held = self._held.get(source)
        failed = source in self.problems or source in self._suspected
        last = self._tried.get(source, held.fetched_at if held is not None else 0.0)
        return last + (RETRY_S if failed or held is None else REFRESH_S)

    def _wait_s(self) -> float:
        now = self._clock()
        return max(1.0, min((self._due(source) - now for source in self._wanted), default=REFRESH_S))

    async def _fetch_all(self, sources: Iterable[KeySource]) -> None:
        before = {source: held.jwks for source, held in self._held.items()}
        try:
            async with trio.open_nursery() as nursery:
                for source in sorted(sources, key=_place):
                    nursery.start_soon(self._fetch_one, source)
        finally:
            if {source: held.jwks for source, held in self._held.items()} != before:
                self._save()

    async def _fetch_one(self, source: KeySource) -> None:
        async with self._slots:
            self._tried[source] = self._clock()
            self._suspected -= {source}
            try:
                jwks = await self._fetch(source)
            except KeyFetchError as error:
                self.failed_total += 1
                if self.problems.get(source) != str(error):
                    kept = "; the set fetched before holds for a day" if source in self._held else ""
                    log.warning("the keys of %s cannot be fetched: %s%s", source.uri or source.issuer, error, kept)
                self.problems[source] = str(error)
                return
        self.problems.pop(source, None)
        self._held[source] = _Held(source, jwks, self._clock())

    def _load(self) -> None:
        if self._read:
            return
        self._read = True
        try:
            saved = json_decoder(_Saved).decode(self._file.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return
        self._held = {held.source: held for held in saved.sets if held.fetched_at <= self._clock()}

    def _save(self) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(_Saved(tuple(self._held.values()))), mode=0o600)
        except OSError as error:
            log.warning("the keys of issuers cannot be kept in %s: %s", self._file, error.strerror)


def _place(source: KeySource) -> tuple[str, str, int]:
    return source.uri, source.issuer, source.timeout_ms
