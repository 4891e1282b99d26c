"""A store in memory, the keys of a test, and a way to publish hand-made snapshots; a fake that passes the stores' contract suite."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache

from securesystemslib.signer import CryptoSigner

from policies.match import RouteMatch
from policies.traffic import DirectResponse
from snapshot.index import Snapshot
from snapshot.section import Proxy, Route, RouteBlock, RouteTable, Section, VirtualHost
from snapshot.store import Conflict, Found, NotFound, Store, StoreError, TooLarge, require_name
from snapshot.trust.keys import SigningKeys, sign_root
from snapshot.trust.layout import ROLES
from snapshot.trust.publisher import publish, read_published
from snapshot.trust.release import Release
from tests.slices import SOURCE, WORKLOAD, snapshot_of

NOW = datetime.now(UTC).replace(microsecond=0)
"""The Updater judges expiry by the machine's clock, so signatures in tests start now and differ by whole days."""

DAY = timedelta(days=1)
_ANY = RouteMatch()


class MemoryStore:
    """Named bytes in a dict. From write number ``fail_at`` on, every write raises before it changes anything: the publisher is dead."""

    def __init__(self, files: Mapping[str, bytes] | None = None, *, fail_at: int = 0) -> None:
        self.files = dict(files or {})
        self.writes = 0
        self.reads: list[str] = []
        self._fail_at = fail_at
        self._counting = threading.Lock()

    def read(self, name: str, *, max_bytes: int) -> bytes:
        self.reads.append(name)
        content = self.files.get(require_name(name))
        if content is None:
            raise NotFound(f"the memory has no {name}")
        if len(content) > max_bytes:
            raise TooLarge(f"{name} is larger than {max_bytes} bytes")
        return content

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        content = self.read(name, max_bytes=max_bytes)
        found = hashlib.sha256(content).hexdigest()
        return None if found == version else Found(content, found)

    def put(self, name: str, content: bytes) -> None:
        self._count_write()
        if self.files.setdefault(require_name(name), content) != content:
            raise Conflict(f"{name} is there already, with other bytes")

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        self._count_write()
        current = self.files.get(require_name(name))
        if (None if current is None else hashlib.sha256(current).hexdigest()) != expected:
            raise Conflict(f"{name} was written by somebody else meanwhile")
        self.files[name] = content
        return hashlib.sha256(content).hexdigest()

    def contains(self, name: str) -> bool:
        return require_name(name) in self.files

    def close(self) -> None:
        pass

    def _count_write(self) -> None:
        with self._counting:
            self.writes += 1
            if 0 < self._fail_at <= self.writes:
                raise StoreError("the publisher was killed here")


def signing_keys(party: str = "ours") -> SigningKeys:
    """One party's keys of all roles and their root; the same all through a test run."""
    return _signing_keys(party)


@cache
def _signing_keys(party: str) -> SigningKeys:
    signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    root = sign_root({role: [signer] for role, signer in signers.items()}, version=1, now=NOW)
    return SigningKeys(folder=party, root=root, signers={role: (signer,) for role, signer in signers.items()})


def sections(body: str, *, routes: int = 1) -> list[Section]:
    """A slice's sections; every part but the first block is the same whatever ``body`` is."""
    blocks = [
        RouteBlock("80", "all", n, (Route(SOURCE, _ANY, DirectResponse(200, body if n == 0 else "same")),))
        for n in range(routes)
    ]
    return [
        Proxy(workload=WORKLOAD, trust_domain="cluster.local"),
        RouteTable("80", SOURCE),
        VirtualHost("80", "all", ("*",), SOURCE, blocks=routes),
        *blocks,
    ]


def mesh(body: str, *, routes: int = 1) -> Snapshot:
    """A snapshot whose one slice, ``test``, answers with ``body``."""
    return snapshot_of({"test": sections(body, routes=routes)})


def release_mesh(
    store: Store,
    snapshot: Snapshot,
    *,
    keys: SigningKeys | None = None,
    commit: str = "c" * 40,
    channel: str = "stable",
    now: datetime = NOW,
) -> Release:
    """Publishes a snapshot over whatever the store says now."""
    keys = keys or signing_keys()
    draft = Release(
        channel=channel, commit=commit, tip=commit, snapshot=snapshot.digest, tree="t" * 40, compiler="test", time=0
    )
    return publish(store, keys, draft, snapshot, published=read_published(store, keys.root, channel), now=now)
