"""Slices of hand-made sections for weft's side of a work, and their publication into a store: the proxy takes the way that it always takes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.certificates import IDENTITY, SERVER_NAME, TRUST_DOMAIN
from benchmarks.hop import Hop
from benchmarks.works import HOST, route_prefix
from policies.match import PathPrefix, RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, Forward, HeaderEdits, Retry
from snapshot.encode import FEATURES, FORMAT, digest, encode
from snapshot.index import SectionRef, SliceEntry, SliceIndex, Snapshot, SnapshotIndex, behaviour_digest
from snapshot.section import (
    ROUTES_PER_BLOCK,
    AccessLog,
    Cluster,
    CredentialSlot,
    Endpoint,
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    MeshUpstream,
    Proxy,
    Route,
    RouteBlock,
    RouteTable,
    Section,
    ServiceName,
    ServicePort,
    StaticEndpoints,
    TlsUpstream,
    UpstreamTls,
    VirtualHost,
    Workload,
    WorkloadPort,
    section_key,
)
from snapshot.store_directory import DirectoryStore
from snapshot.trust.keys import create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from snapshot.trust.publisher import publish, read_published
from snapshot.trust.release import Release

SOURCE = SourceRef("Benchmark", "bench", "hop")
SLOT = "bench/origin"
TABLE = "bench"
CHANNEL = "stable"


def sections_of(hop: Hop, *, mark: str = "") -> list[Section]:
    """What one hop's slice holds. ``mark`` is set as a response header by every route, so that two slices differ in all of them."""
    workload = Workload(name="proxy", namespace="bench", identity=IDENTITY, service_account="proxy", app="proxy")
    chain = FilterChain("http", SOURCE, HttpChain(TABLE), tls=MeshTls() if hop.tls_in else None)
    bind = WorkloadPort(hop.port) if hop.tls_in else ServicePort(HOST, 80)
    direction = "inbound" if hop.tls_in else "outbound"
    return [
        Proxy(workload, TRUST_DOMAIN, access_log=AccessLog("/dev/null"), credentials=(CredentialSlot(SLOT),)),
        Listener("bench", SOURCE, direction, bind, "http", (chain,)),
        RouteTable(TABLE, SOURCE),
        VirtualHost(TABLE, "all", ("*",), SOURCE, blocks=-(-hop.routes // ROUTES_PER_BLOCK)),
        *_blocks(hop.routes, mark),
        _cluster(hop),
    ]


def snapshot_of(sections: Sequence[Section], *, tree: str = "benchmark") -> Snapshot:
    """A snapshot with one slice, named ``bench``."""
    blobs: dict[str, bytes] = {}
    refs = []
    for section in sections:
        raw = encode(section)
        kind, name = section_key(section)
        blobs[digest(raw)] = raw
        refs.append(SectionRef(kind, name, digest(raw), len(raw), ""))
    refs.sort(key=lambda ref: (ref.kind, ref.name))
    raw = encode(SliceIndex(tuple(refs)))
    blobs[digest(raw)] = raw
    entry = SliceEntry("bench", "sidecar", "bench", (("app", "proxy"),), digest(raw), behaviour_digest(refs))
    return Snapshot(SnapshotIndex(FORMAT, tuple(sorted(FEATURES)), tree, (entry,)), blobs)


class Publisher:
    """A store in a folder and the keys that sign it. ``root`` is what the proxy pins."""

    def __init__(self, folder: Path) -> None:
        keys = folder / "keys"
        create_keys(keys, now=dt.datetime.now(dt.UTC))
        self.root = keys / "root.json"
        self.path = folder / "store"
        self._store = DirectoryStore(self.path)
        self._keys = load_keys(keys, PUBLISHER_ROLES)

    def publish(self, snapshot: Snapshot) -> Release:
        """Publishes the next release."""
        now = dt.datetime.now(dt.UTC)
        draft = Release(
            channel=CHANNEL,
            commit="0" * 40,
            snapshot=snapshot.digest,
            tree="benchmark",
            compiler="",
            time=int(time.time()),
        )
        base = read_published(self._store, self._keys.root, CHANNEL)
        return publish(self._store, self._keys, draft, snapshot, published=base, now=now)


def _blocks(routes: int, mark: str) -> list[RouteBlock]:
    edits = HeaderEdits(set=(("x-mark", mark),)) if mark else HeaderEdits()
    made = [
        Route(
            SOURCE,
            RouteMatch(path=PathPrefix(route_prefix(number))),
            Forward((Destination("origin"),)),
            name=f"route-{number}",
            response_headers=edits,
            retry=Retry(),
        )
        for number in range(routes)
    ]
    starts = range(0, routes, ROUTES_PER_BLOCK)
    return [
        RouteBlock(TABLE, "all", ordinal, tuple(made[start : start + ROUTES_PER_BLOCK]))
        for ordinal, start in enumerate(starts)
    ]


def _cluster(hop: Hop) -> Cluster:
    mesh = hop.tls_out and not hop.origin
    tls: UpstreamTls | None = None
    if mesh:
        tls = MeshUpstream(identities=(IDENTITY,), server_name=SERVER_NAME)
    elif hop.tls_out:
        tls = TlsUpstream(SERVER_NAME, names=(SERVER_NAME,), ca=SLOT, credential=SLOT)
    return Cluster(
        "origin",
        ServiceName(HOST, "bench", "bench"),
        StaticEndpoints((Endpoint("127.0.0.1", hop.upstream, mesh=mesh),)),
        (SOURCE,),
        protocol="http2" if hop.http2 else "http1",
        tls=tls,
    )
