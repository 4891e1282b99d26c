"""Fetching: python-tuf's Updater over any Store, its errors mapped to our reasons.

The Updater keeps what it has seen in a folder, and by that memory refuses rollbacks; it refuses whatever has expired. What it accepted
is then read back through ``chain.verify_chain``, so that two verifiers have agreed before anything is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from snapshot.store import NotFound, Store, TooLarge
from snapshot.trust.chain import Chain, KnownRoots, Read, verify_chain, verify_release
from snapshot.trust.failure import Reason, Untrusted
from snapshot.trust.layout import MAX_BYTES, MAX_ROOT_ROTATIONS, TIMESTAMP
from snapshot.trust.release import Release
from snapshot.trust.signatures import VerifiedSignatures, remember_checks
from snapshot.trust.source import read_from

remember_checks()

_CONFIG = UpdaterConfig(
    max_root_rotations=MAX_ROOT_ROTATIONS,
    max_delegations=1,
    root_max_length=MAX_BYTES["root"],
    timestamp_max_length=MAX_BYTES["timestamp"],
    snapshot_max_length=MAX_BYTES["snapshot"],
    targets_max_length=MAX_BYTES["targets"],
)


class Fetched(msgspec.Struct, frozen=True):
    """A release that is authentic, unexpired and not older than any seen before; ``record`` is its bytes."""

    release: Release
    record: bytes
    chain: Chain


class Memory:
    """Owns what one follower has verified: roots, by the second verifier, and signatures, by either."""

    def __init__(self) -> None:
        self.roots = KnownRoots()
        self.signatures = VerifiedSignatures()


def fetch_release(
    store: Store, pinned_root: bytes, folder: Path, channel: str, *, timestamp: bytes, memory: Memory | None = None
) -> Fetched:
    """The channel's release now. ``timestamp`` is timestamp.json as the caller just read it; ``folder`` is the Updater's memory between calls,
    ``memory`` what both verifiers need not do again.

    Raises Untrusted with its reason, StoreError where the store does not answer, OSError where the folder cannot be written.
    """
    memory = memory or Memory()
    with memory.signatures.at_hand():
        return _fetch(_StoreFetcher(store, timestamp), pinned_root, folder, channel, memory.roots)


def _fetch(fetcher: _StoreFetcher, pinned_root: bytes, folder: Path, channel: str, roots: KnownRoots) -> Fetched:
    remembered = _read_folder(folder)
    try:
        updater = Updater(str(folder), "metadata/", fetcher=fetcher, config=_CONFIG, bootstrap=pinned_root)
        updater.refresh()
    except DownloadHTTPError:
        raise Untrusted(Reason.MISSING, f"{fetcher.last} is missing") from None
    except DownloadLengthMismatchError as error:
        raise Untrusted(Reason.TOO_LARGE, str(error)) from None
    except RepositoryError as error:
        raise _explain(error, fetcher, pinned_root, remembered) from None
    chain = verify_chain(pinned_root, remembered, roots)
    release, record = verify_release(chain.targets, channel, read_from(fetcher.store))
    return Fetched(release, record, chain)


def remember(folder: Path, files: dict[str, bytes]) -> None:
    """Fills an empty folder with the metadata of a saved Chain, so that the Updater goes on from there; raises OSError."""
    (folder / "root_history").mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        _remembered_path(folder, name).write_bytes(raw)


class _StoreFetcher(FetcherInterface):
    """Gives the Updater a store's files. ``seen`` is what it gave, for explaining a refusal; StoreError passes through the Updater."""

    def __init__(self, store: Store, timestamp: bytes) -> None:
        self.store = store
        self.seen = {TIMESTAMP: timestamp}
        self.last = TIMESTAMP

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """The whole file, bounded; the library calls this for metadata, and for nothing else here."""
        self.last = url
        if url != TIMESTAMP:
            try:
                self.seen[url] = self.store.read(url, max_bytes=max_length)
            except NotFound as error:
                raise DownloadHTTPError(str(error), 404) from None
            except TooLarge as error:
                raise DownloadLengthMismatchError(str(error)) from None
        return self.seen[url]

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, MAX_BYTES["targets"])


def _explain(error: RepositoryError, fetcher: _StoreFetcher, pinned_root: bytes, remembered: Read) -> Untrusted:
    """Which reason: what takes memory or a clock is the library's word, the rest our own verifier names over the same files."""
    if isinstance(error, ExpiredMetadataError):
        return Untrusted(Reason.EXPIRED, f"{error}: its signer has not renewed it, or the store is frozen")
    if isinstance(error, BadVersionNumberError):
        return Untrusted(Reason.ROLLBACK, f"{fetcher.last} is older than what was seen before: {error}")
    try:
        verify_chain(pinned_root, lambda name: fetcher.seen.get(name) or remembered(name))
    except Untrusted as explained:
        return explained
    return Untrusted(Reason.UNDECODABLE, f"{fetcher.last}: {error}")


def _read_folder(folder: Path) -> Read:
    def read(name: str) -> bytes | None:
        try:
            return _remembered_path(folder, name).read_bytes()
        except FileNotFoundError:
            return None

    return read


def _remembered_path(folder: Path, name: str) -> Path:
    file = name.rpartition("/")[2]
    if file.endswith(".root.json"):
        return folder / "root_history" / file
    # The Updater keeps the newest version of each role under the role's bare name.
    return folder / ".".join(file.split(".")[-2:])
