"""What the store has published, as far as the control plane verified it: the release of each channel, and who its workloads are.

The control plane believes its own store no more than a proxy does: with ``--online-keys`` the root in that folder is pinned, otherwise the
first root that the store itself has. What does not verify is reported (``problem``) and the last good state goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from runtime.control.board import Board
from runtime.control.naming import Naming, load_naming
from snapshot.blobs import read_blob
from snapshot.encode import FormatError
from snapshot.index import decode_index
from snapshot.store import NotFound, Store, StoreError
from snapshot.trust.chain import verify_chain, verify_release
from snapshot.trust.failure import Untrusted
from snapshot.trust.layout import MAX_BYTES, TIMESTAMP, metadata_name
from snapshot.trust.release import Release
from snapshot.trust.source import read_from

LOOK_S = 0.05
"""How often the timestamp's file is looked at (one stat call): publishers also write to the folder directly."""

log = logging.getLogger("weft.control")


class Published(msgspec.Struct, frozen=True):
    """One channel's release and the naming of its snapshot."""

    release: Release
    naming: Naming


class Verified(msgspec.Struct, frozen=True):
    """What one look at the store found: the channels, and when each role's signature ends (seconds since 1970)."""

    channels: dict[str, Published]
    expires: dict[str, float]


class Publication:
    """Owns the verified state of the store. ``board`` grows whenever the timestamp's file may have changed, before it is verified."""

    def __init__(self, store: Store, folder: Path, *, pinned_root: bytes = b"") -> None:
        self.board = Board()
        self.problem = ""
        self.seen = 0
        self.expires: dict[str, float] = {}
        self._store = store
        self._timestamp = folder / TIMESTAMP
        self._pinned_root = pinned_root
        self._channels: dict[str, Published] = {}
        self._looked_at = self._fingerprint()

    def versions(self) -> dict[str, int]:
        """The release version of each channel."""
        return {channel: published.release.version for channel, published in self._channels.items()}

    def namings(self) -> list[Naming]:
        """Who the workloads of each channel's snapshot are."""
        return [published.naming for published in self._channels.values()]

    def look(self) -> bool:
        """Looks whether the timestamp's file is another than before, and if so wakes those who wait for it. Does not block."""
        found = self._fingerprint()
        if found == self._looked_at:
            return False
        self._looked_at = found
        self.board.advance()
        return True

    async def follow_forever(self, changed: Callable[[], object]) -> None:
        """Looks for news, verifies it, and calls ``changed`` when a release is new. Runs until cancelled."""
        verified = self.board.version
        while True:
            await trio.sleep(LOOK_S)
            self.look()
            if verified != self.board.version:
                verified = self.board.version
                if await self.refresh():
                    changed()

    async def refresh(self) -> bool:
        """Verifies the store and takes what it publishes; True where a release is new. Never raises for what is in the store."""
        try:
            verified = await trio.to_thread.run_sync(self._verify, dict(self._channels))
        except NotFound:
            # An empty store is no problem: nothing is published yet.
            return False
        except (StoreError, Untrusted, FormatError) as error:
            if self.problem != str(error):
                log.warning("the published release is not believed: %s", error)
            self.problem = str(error)
            return False
        self.problem = ""
        self.expires = verified.expires
        found = verified.channels
        new = {channel for channel, published in found.items() if self._is_new(channel, published)}
        self.seen += len(new)
        self._channels = found
        for channel in sorted(new):
            release = found[channel].release
            log.info("%s has release %d (snapshot %s)", channel, release.version, release.snapshot[:12])
        return bool(new)

    def _is_new(self, channel: str, published: Published) -> bool:
        held = self._channels.get(channel)
        return held is None or held.release != published.release

    def _verify(self, held: dict[str, Published]) -> Verified:
        root = self._pinned_root or self._store.read(metadata_name("root", 1), max_bytes=MAX_BYTES["root"])
        self._store.read(TIMESTAMP, max_bytes=MAX_BYTES["timestamp"])
        read = read_from(self._store)
        chain = verify_chain(root, read)
        expires = {role: end.timestamp() for role, end in chain.expires.items()}
        found = {}
        for path in chain.targets.targets:
            channel = path.rpartition("/")[0]
            release, _ = verify_release(chain.targets, channel, read)
            found[channel] = self._published(release, held.get(channel))
        return Verified(found, expires)

    def _published(self, release: Release, held: Published | None) -> Published:
        previous = held.naming if held else None
        if previous is not None and previous.snapshot == release.snapshot:
            return Published(release, previous)
        blob = partial(read_blob, self._store)
        return Published(release, load_naming(decode_index(blob(release.snapshot)), release.snapshot, blob, previous))

    def _fingerprint(self) -> tuple[int, int, int]:
        try:
            status = self._timestamp.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)
