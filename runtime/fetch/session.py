"""One proxy's dealings with one store, step by step and blocking; ``follow`` calls it in threads: ``persist`` beside one other call at most."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from runtime.bootstrap import Bootstrap
from runtime.fetch.contents import fetch_slice
from runtime.fetch.news import VerifiedSlice
from runtime.fetch.saved import Restored, restore, save
from snapshot.ahead import AheadStore, Files, ReadsAhead, Wanted
from snapshot.store import Found, NotFound, Store, TooLarge
from snapshot.trust.chain import Chain
from snapshot.trust.client import Memory, fetch_release, remember
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.layout import MAX_BYTES, TIMESTAMP

LONG_POLL_S = 10.0
"""How long a store that can wait may hold the answer "nothing new"; expiry is noticed at most so much late."""

Now = Callable[[], datetime]


def wall_clock() -> datetime:
    """The time that expiry is judged by."""
    return datetime.now(UTC)


class Session:
    """Owns what was verified last, and the content of ``folder``: the Updater's memory, a private folder that lives as long as the session.

    Signed metadata moves from the state directory to that folder at the start and back with every verified slice, in one file: so
    the disk never holds metadata of one release and a slice of another, and a state directory that cannot be written costs
    the next cold start, not the news.
    """

    def __init__(self, bootstrap: Bootstrap, store: Store, folder: Path, *, now: Now = wall_clock) -> None:
        self._bootstrap = bootstrap
        self.store = store
        self._now = now
        self._folder = folder
        self._seen = ""
        self._pinned = b""
        self._memory = Memory()
        self._last: Restored | None = None

    @property
    def verified(self) -> VerifiedSlice | None:
        """What was verified last, None before the first."""
        return self._last.verified if self._last else None

    def has_root(self) -> bool:
        """Whether there is anything to verify by: the pinned root was read, or its file is there now."""
        return bool(self._pinned) or Path(self._bootstrap.root).is_file()

    def restore(self) -> VerifiedSlice | None:
        """Takes up the saved slice, or returns None where there is none; raises Untrusted where it is not to be used."""
        bootstrap = self._bootstrap
        state = Path(bootstrap.state)
        self._last = restore(state, self._root(), bootstrap.channel, bootstrap.selector, now=self._now())
        if self._last is None:
            return None
        with _own_disk():
            remember(self._folder, self._last.chain.files)
        return self._last.verified

    def refresh(self, *, wait_s: float = LONG_POLL_S) -> VerifiedSlice | None:
        """The channel's slice where timestamp.json has changed since the last success, else None. Raises Untrusted and StoreError.

        Returns the same release again where only its signatures were renewed; compare ``release.version``. A store that can is asked to hold
        the answer "no change" back for ``wait_s``.
        """
        try:
            news = self._look(wait_s)
        except NotFound:
            raise Untrusted(
                Reason.MISSING, f"{TIMESTAMP} is missing: nothing is published at {self._bootstrap.store}"
            ) from None
        except TooLarge as error:
            raise Untrusted(Reason.TOO_LARGE, str(error)) from None
        if news is None:
            self._require_unexpired()
            return None
        found, files = news
        verified = self._fetch(found.content, AheadStore(self.store, files))
        self._seen = found.version
        return verified

    def persist(self) -> None:
        """Saves what was verified last for the next cold start; raises Untrusted (``state``).

        May run while ``refresh`` does: it takes up once, whole, what was verified last.
        """
        last = self._last
        if last is not None:
            save(Path(self._bootstrap.state), last.chain, last.record, last.blobs, fetched_at=last.verified.fetched_at)

    def _look(self, wait_s: float) -> tuple[Found, Files] | None:
        """The timestamp where it is new, with what a server gives ahead for this proxy: one request in place of ten, or of a thousand at a start."""
        if isinstance(self.store, ReadsAhead):
            have = self._last.verified.slice.snapshot if self._last else ""
            wanted = Wanted(self._bootstrap.channel, self._bootstrap.selector, have)
            return self.store.read_news(wanted, self._seen, wait_s=wait_s)
        found = self.store.read_unless(TIMESTAMP, self._seen, max_bytes=MAX_BYTES["timestamp"], wait_s=wait_s)
        return None if found is None else (found, {})

    def _fetch(self, timestamp: bytes, store: AheadStore) -> VerifiedSlice:
        bootstrap = self._bootstrap
        with _own_disk():
            fetched = fetch_release(
                store, self._root(), self._folder, bootstrap.channel, timestamp=timestamp, memory=self._memory
            )
        held = {**(self._last.blobs if self._last else {}), **store.blobs()}
        contents = fetch_slice(store, fetched.release, bootstrap.selector, held)
        same = self._last is not None and self._last.verified.release == fetched.release
        fetched_at = self._last.verified.fetched_at if self._last and same else self._now().timestamp()
        until = fetched.chain.fresh_until.timestamp()
        verified = VerifiedSlice(fetched.release, contents.slice, True, fetched_at, until)
        self._last = Restored(verified, fetched.chain, fetched.record, contents.blobs)
        return verified

    def _require_unexpired(self) -> None:
        if self._last is None or self._now() < self._last.chain.fresh_until:
            return
        expired = ", ".join(_expired(self._last.chain, self._now()))
        raise Untrusted(Reason.EXPIRED, f"{expired}: its signer has not renewed it, or the store is frozen")

    def _root(self) -> bytes:
        """The pinned root, read once: re-pinning takes a restart."""
        if not self._pinned:
            try:
                self._pinned = Path(self._bootstrap.root).read_bytes()
            except OSError as error:
                message = f"cannot read the pinned root {self._bootstrap.root}: {error.strerror}. `weft keys init` makes root.json"
                raise Untrusted(Reason.UNKNOWN_ROOT, message) from None
        return self._pinned


def _expired(chain: Chain, now: datetime) -> list[str]:
    return [
        f"{role}.json expired at {until:%Y-%m-%dT%H:%M:%SZ}" for role, until in chain.expires.items() if until <= now
    ]


@contextlib.contextmanager
def _own_disk() -> Iterator[None]:
    """Maps the errors of our own temporary folder; those of the store are StoreError already."""
    try:
        yield
    except OSError as error:
        raise Untrusted(Reason.STATE, f"the temporary folder cannot be written: {error.strerror or error}") from None
