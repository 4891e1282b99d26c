"""Hand-made slices for tests: sections in, a Snapshot or a PreparedSlice out, by the same code that a compiler's output takes."""

from __future__ import annotations

from collections.abc import Sequence

from policies.head import Headers, Peer, RequestHead
from policies.match import PathMatch, RouteMatch
from policies.source import SourceRef
from policies.traffic import Destination, Forward, RouteAction
from snapshot.encode import FORMAT, digest, encode
from snapshot.index import (
    SectionRef,
    Slice,
    SliceEntry,
    SliceIndex,
    Snapshot,
    SnapshotIndex,
    assemble,
    behaviour_digest,
)
from snapshot.prepared import PreparedSlice, prepare
from snapshot.section import (
    ROUTES_PER_BLOCK,
    Cluster,
    Endpoint,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    Proxy,
    Route,
    RouteBlock,
    RouteTable,
    Section,
    ServiceName,
    StaticEndpoints,
    VirtualHost,
    Workload,
    section_key,
)

SOURCE = SourceRef("Test", "default", "made-by-hand")
PEER = Peer("127.0.0.9", 50000, "127.0.0.1", 80)
WORKLOAD = Workload(name="tester", namespace="default", identity="spiffe://cluster.local/ns/default/sa/default")


def snapshot_of(slices: dict[str, Sequence[Section]], *, labels: tuple[tuple[str, str], ...] = ()) -> Snapshot:
    """A snapshot with one slice per entry, each selected by its name or by ``labels`` in namespace ``default``."""
    blobs: dict[str, bytes] = {}
    entries = []
    for name, sections in slices.items():
        refs = []
        for section in sections:
            raw = encode(section)
            kind, title = section_key(section)
            blobs[digest(raw)] = raw
            refs.append(SectionRef(kind, title, digest(raw), len(raw), ""))
        index = SliceIndex(tuple(sorted(refs, key=lambda ref: (ref.kind, ref.name))))
        raw = encode(index)
        blobs[digest(raw)] = raw
        entries.append(SliceEntry(name, "sidecar", "default", labels, digest(raw), behaviour_digest(index.sections)))
    return Snapshot(SnapshotIndex(FORMAT, (), "0" * 40, tuple(entries)), blobs)


def slice_of(*sections: Section) -> Slice:
    """One slice of hand-made sections; a Proxy section is added where none is given."""
    if not any(isinstance(section, Proxy) for section in sections):
        sections = (Proxy(workload=WORKLOAD, trust_domain="cluster.local"), *sections)
    snapshot = snapshot_of({"test": sections})
    return assemble(snapshot.digest, snapshot.index.slices[0], snapshot.blobs)


def prepared_of(*sections: Section) -> PreparedSlice:
    """The same, prepared."""
    return prepare(slice_of(*sections))


def route(
    path: PathMatch | None = None,
    cluster: str = "a",
    *,
    name: str = "",
    action: RouteAction | None = None,
    **match: object,
) -> Route:
    """A route to one cluster, or with another action."""
    return Route(
        source=SourceRef("Test", "default", name or cluster),
        match=RouteMatch(path=path, **match),  # type: ignore[arg-type]
        action=action or Forward((Destination(cluster),)),
        name=name,
    )


def host_sections(name: str, domains: Sequence[str], routes: Sequence[Route], *, table: str = "80") -> list[Section]:
    """A virtual host and its blocks of routes."""
    blocks = [routes[start : start + ROUTES_PER_BLOCK] for start in range(0, max(len(routes), 1), ROUTES_PER_BLOCK)]
    host = VirtualHost(table=table, name=name, domains=tuple(domains), source=SOURCE, blocks=len(blocks))
    return [host, *(RouteBlock(table, name, ordinal, tuple(block)) for ordinal, block in enumerate(blocks))]


def cluster(name: str, *endpoints: tuple[str, int], **fields: object) -> Cluster:
    """A cluster with static endpoints."""
    return Cluster(
        name=name,
        service=ServiceName(name, name, "default"),
        endpoints=StaticEndpoints(tuple(Endpoint(address, port) for address, port in endpoints)),
        sources=(SOURCE,),
        **fields,  # type: ignore[arg-type]
    )


def gateway_listener(port: int = 80, *, table: str = "80", policies: str = "", edge: bool = False) -> Listener:
    """A plain HTTP listener on a gateway's port, one chain named ``http``."""
    chain = FilterChain(name="http", source=SOURCE, network=HttpChain(routes=table, policies=policies, edge=edge))
    return Listener(
        name="http", source=SOURCE, direction="gateway", bind=GatewayPort(port), protocol="http", chains=(chain,)
    )


def table(name: str = "80", **fields: object) -> RouteTable:
    """A route table."""
    return RouteTable(name=name, source=SOURCE, **fields)  # type: ignore[arg-type]


def request(
    path: str = "/",
    *,
    host: str = "a.test",
    method: str = "GET",
    query: str | None = None,
    headers: Headers | None = None,
    scheme: str = "http",
) -> RequestHead:
    """A request head; ``host`` may carry a port."""
    bare = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host.lower()
    return RequestHead(
        method=method, scheme=scheme, authority=host, host=bare, path=path, query=query, headers=headers or []
    )
