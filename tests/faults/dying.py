"""A publisher that lives in a process of its own, tells of each write before it begins, and is killed at any moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from policies.match import RouteMatch
from policies.traffic import DirectResponse
from snapshot.index import Snapshot
from snapshot.section import Proxy, Route, RouteBlock, RouteTable, Section, VirtualHost
from snapshot.store import Found, Store
from snapshot.trust.keys import load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from tests.faults.places import Place
from tests.slices import SOURCE, WORKLOAD, snapshot_of
from tests.stores import release_mesh

READY = "ready"
DONE = "done"
BLOCKS = 8


def mesh_of_round(body: str) -> Snapshot:
    """A snapshot whose one slice, ``test``, has BLOCKS blocks of routes that all differ from those of another body."""
    blocks = [
        RouteBlock("80", "all", n, (Route(SOURCE, RouteMatch(), DirectResponse(200, f"{body} in block {n}")),))
        for n in range(BLOCKS)
    ]
    sections: Sequence[Section] = [
        Proxy(workload=WORKLOAD, trust_domain="cluster.local"),
        RouteTable("80", SOURCE),
        VirtualHost("80", "all", ("*",), SOURCE, blocks=BLOCKS),
        *blocks,
    ]
    return snapshot_of({"test": sections})


class Telling:
    """A store that says the name of each file before it is written."""

    def __init__(self, store: Store, told: Connection) -> None:
        self._store = store
        self._told = told

    def read(self, name: str, *, max_bytes: int) -> bytes:
        return self._store.read(name, max_bytes=max_bytes)

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        return self._store.read_unless(name, version, max_bytes=max_bytes, wait_s=wait_s)

    def put(self, name: str, content: bytes) -> None:
        self._tell(name)
        self._store.put(name, content)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        self._tell(name)
        return self._store.replace(name, content, expected=expected)

    def contains(self, name: str) -> bool:
        return self._store.contains(name)

    def close(self) -> None:
        self._store.close()

    def _tell(self, name: str) -> None:
        # Blobs are written by several threads; one short write to a pipe is never torn.
        os.write(self._told.fileno(), f"{name}\n".encode())


def publish_once(place: Place, keys: str, body: str, told: Connection, environment: dict[str, str]) -> None:
    """Publishes one mesh and tells READY when the store is open, the name of each write, and DONE. The entry of the process."""
    os.environ.update(environment)
    signing = load_keys(Path(keys), PUBLISHER_ROLES)
    with closing(place.open()) as store:
        os.write(told.fileno(), f"{READY}\n".encode())
        release_mesh(Telling(store, told), mesh_of_round(body), keys=signing)
    os.write(told.fileno(), f"{DONE}\n".encode())
