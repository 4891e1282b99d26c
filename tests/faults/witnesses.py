"""Who judges a store after its publisher was killed: three verifying clients, and a record of which bytes each name ever had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from runtime.bootstrap import Bootstrap
from runtime.fetch.session import Session
from snapshot.index import Selector
from snapshot.store import NotFound, Store
from snapshot.trust.layout import TIMESTAMP, metadata_name, target_path

AHEAD = 6
"""How many versions past the newest a dead publisher's files are looked for."""

MAX_BYTES = 1 << 24


class Seen(msgspec.Struct, frozen=True):
    """A release as a client loaded it."""

    version: int
    snapshot: str


class _StoreFiles(FetcherInterface):
    """python-tuf's way to a store's files, without any code of ours between that could know better."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield self._store.read(url, max_bytes=MAX_BYTES)
        except NotFound as error:
            raise DownloadHTTPError(str(error), 404) from None


class Witnesses:
    """Owns a folder: a proxy that has followed the store all along, proxies that start cold each time, and python-tuf's Updater."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder = folder
        self._root = root
        self._starts = 0
        self._memory = self._new("updater")
        (folder / "root.json").write_bytes(root)
        self._follower: Session | None = None

    def look(self, store: Store) -> Seen:
        """What all three load, from the signatures down to the last blob; raises AssertionError where they differ, Untrusted, StoreError.

        A server may carry out the last write of a publisher that is dead, while they look: then they look again, and must agree.
        """
        seen = self._look_once(store)
        if len(set(seen)) > 1:
            assert [one.version for one in seen] == sorted(one.version for one in seen), seen
            seen = self._look_once(store)
        assert len(set(seen)) == 1, seen
        return seen[0]

    def _look_once(self, store: Store) -> tuple[Seen, Seen, Seen]:
        cold = _refreshed(self._session(store, f"cold-{self._starts}"))
        self._starts += 1
        self._follower = self._follower or self._session(store, "follower")
        self._follower.store = store
        followed = _refreshed(self._follower)
        return cold, followed, self._update(store)

    def _session(self, store: Store, name: str) -> Session:
        state = self._folder / f"{name}-state"
        root = str(self._folder / "root.json")
        bootstrap = Bootstrap(selector=Selector(name="test"), store="s", root=root, state=str(state))
        return Session(bootstrap, store, self._new(name))

    def _update(self, store: Store) -> Seen:
        targets = self._folder / "targets"
        targets.mkdir(exist_ok=True)
        updater = Updater(
            str(self._memory), "metadata/", str(targets), "targets/", fetcher=_StoreFiles(store), bootstrap=self._root
        )
        updater.refresh()
        info = updater.get_targetinfo(target_path("stable"))
        assert info is not None
        record = msgspec.json.decode(Path(updater.download_target(info)).read_bytes())
        return Seen(record["version"], record["snapshot"])

    def _new(self, name: str) -> Path:
        made = self._folder / name
        made.mkdir()
        return made


def _refreshed(session: Session) -> Seen:
    session.refresh(wait_s=0.0)
    assert session.verified is not None
    return Seen(session.verified.release.version, session.verified.slice.snapshot)


class Record:
    """Owns which bytes each name of signed metadata was ever seen with, those of dead publishers too, and each version's content."""

    def __init__(self) -> None:
        self._bytes: dict[str, str] = {}
        self._snapshots: dict[int, str] = {}
        self._timestamps: dict[int, str] = {}

    def note(self, seen: Seen) -> None:
        """Raises AssertionError where a release's version was used for other content before."""
        assert self._snapshots.setdefault(seen.version, seen.snapshot) == seen.snapshot, seen

    def read(self, store: Store, newest: int) -> int:
        """Reads the metadata around version ``newest``; raises AssertionError where a name has other bytes than it ever had."""
        raw = store.read(TIMESTAMP, max_bytes=MAX_BYTES)
        said = msgspec.json.decode(raw)["signed"]["version"]
        assert self._timestamps.setdefault(said, _digest(raw)) == _digest(raw), f"timestamp {said}"
        first = max(1, newest - AHEAD)
        return self._compare(store, range(first, newest + AHEAD))

    def read_all(self, store: Store) -> int:
        """The same for every name ever seen; returns how many there are."""
        return self._compare(store, range(1, max(self._snapshots) + AHEAD))

    def _compare(self, store: Store, versions: range) -> int:
        for version in versions:
            for role in ("targets", "snapshot"):
                name = metadata_name(role, version)
                try:
                    found = _digest(store.read(name, max_bytes=MAX_BYTES))
                except NotFound:
                    assert name not in self._bytes, f"{name} is gone"
                    continue
                assert self._bytes.setdefault(name, found) == found, f"{name} was used twice"
        return len(self._bytes)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
