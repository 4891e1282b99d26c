"""What a sidecar sends: the tables of its egress listeners by port, and the listeners through which the application reaches them.

The same for all workloads of a namespace that one Sidecar holds for, unless a VirtualService asks for source labels; so it is linked once
per Sidecar and combination of such labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.link.clusters import PASSTHROUGH
from compiler.link.draft import SectionKey, keyed, used_clusters
from compiler.link.names import Naming, name_tables
from compiler.link.port_tables import PROXY, PortTables, Share, own_name
from compiler.resources.cursor import Labels
from compiler.resources.protocol import AUTO, TLS, is_http
from compiler.resources.sidecar import EgressListener, Sidecar
from policies.source import SourceRef
from snapshot.section import Cluster, FilterChain, HttpChain, Listener, ProxyPort, RouteTable, Section, TcpChain

OUTBOUND = "virtualOutbound"
BLACK_HOLE = "BlackHoleCluster"


class Outbound:
    """The outbound part of the slices of one namespace, Sidecar, Naming and combination of source labels. Owns the sections while they are
    made.

    There is at least one share; of what several shares define alike the first has it.
    """

    def __init__(
        self, shares: Sequence[Share], labels: Labels, sidecar: Sidecar | None = None, naming: Naming | None = None
    ) -> None:
        self._naming = naming
        self._tables = [PortTables(share, labels) for share in shares]
        self._view = shares[0].view
        self._sidecar = sidecar
        self._unmatched, self._source = self._policy()

    def link(self) -> dict[SectionKey, Section]:
        """All outbound sections by their keys, in order: tables, virtual hosts, routes, listeners and the clusters that they name."""
        sections: list[Section] = []
        for tables in self._tables:
            tables.link(self._unmatched, self._source)
            sections += tables.sections
            sections += tables.refusals(OUTBOUND)
            sections += self._own(tables)
        if self._naming is not None:
            sections += name_tables([tables.view for tables in self._tables], self._tables[0].share.addresses)
        sections.append(RouteTable(OUTBOUND, self._source, 0, self._unmatched))
        chain = FilterChain("http", self._source, HttpChain(OUTBOUND, proxy=True))
        sections.append(Listener(OUTBOUND, self._source, "outbound", ProxyPort(), "http", (chain,)))
        clusters: dict[str, Cluster] = {}
        for tables in reversed(self._tables):
            clusters |= tables.view.clusters
        found = keyed([*sections, *used_clusters(sections, clusters)])
        return dict(sorted(found.items(), key=lambda item: item[0]))

    def _policy(self) -> tuple[str, SourceRef]:
        """The cluster that takes requests to hosts that are not known, and what says so."""
        sidecar, mesh = self._sidecar, self._view.mesh
        if sidecar is None or sidecar.outbound_source is None:
            return _taking(mesh.config.outbound), mesh.source
        proxy = sidecar.egress_proxy
        if proxy is None or sidecar.outbound != "ALLOW_ANY":
            return _taking(sidecar.outbound), sidecar.outbound_source
        cluster = self._view.resolve(proxy, sidecar.meta.namespace, proxy.port)
        return cluster.name if cluster else BLACK_HOLE, proxy.source

    # --- listeners with an address of their own --------------------------------------------------------------------------------

    def _own(self, tables: PortTables) -> Iterator[Section]:
        """What a Sidecar binds by itself. A listener without anything to lead to is none (Istio)."""
        written = tables.share.written
        if written is None or written.bind is None:
            return
        if tables.share.group:
            yield from self._grouped(tables, written)
            return
        for number in tables.numbers if written.port is None else [written.port]:
            protocol = written.protocol if written.port else _protocol(tables, number)
            chains = tuple(_chains(tables, written.source, number, protocol))
            listener = _listener(written, number, protocol, chains)
            if listener is not None:
                yield listener

    def _grouped(self, tables: PortTables, written: EgressListener) -> Iterator[Section]:
        """A proxy of its own, or a Unix socket: requests name the port."""
        assert written.port is not None
        group = tables.share.group
        chains: list[FilterChain] = []
        if (is_http(written.protocol) or written.protocol == AUTO) and tables.numbers:
            yield RouteTable(group, self._source, 0, self._unmatched, group)
            yield from tables.refusals(group)
            chains.append(FilterChain("http", written.source, HttpChain(group, proxy=True)))
        if not is_http(written.protocol):
            chains += _byte_chains(tables, tables.numbers[:1], written.protocol)
        listener = _listener(written, written.port, written.protocol, tuple(chains))
        if listener is not None:
            yield listener


def _taking(mode: str) -> str:
    return PASSTHROUGH.name if mode == "ALLOW_ANY" else BLACK_HOLE


def _protocol(tables: PortTables, number: int) -> str:
    """What is spoken on a port that no egress names: HTTP as soon as one service does."""
    spoken = [port.protocol for _, port in tables.ports.get(number, ())]
    return next((protocol for protocol in spoken if is_http(protocol)), spoken[0] if spoken else PROXY)


def _chains(tables: PortTables, source: SourceRef, number: int, protocol: str) -> Iterator[FilterChain]:
    if (is_http(protocol) or protocol == AUTO) and number in tables.numbers:
        yield FilterChain("http", source, HttpChain(tables.table(number)))
    if not is_http(protocol):
        yield from _byte_chains(tables, [number], protocol)


def _byte_chains(tables: PortTables, numbers: Sequence[int], protocol: str) -> Iterator[FilterChain]:
    """Bytes as they come go to the first service of the ports; where they are TLS, to the one whose name the client asks for."""
    services = [one for number in numbers for one in tables.ports.get(number, ())]
    named = protocol in TLS
    for service, port in services if named else services[:1]:
        destinations, source = tables.connections(service, port)
        network = TcpChain(destinations, source)
        if named:
            yield FilterChain(f"tls|{service.host}", source, network, (service.host,), passthrough=True)
        else:
            yield FilterChain("tcp", source, network)


def _listener(written: EgressListener, number: int, protocol: str, chains: tuple[FilterChain, ...]) -> Listener | None:
    bind = written.at(number)
    if bind is None or not chains:
        return None
    kind = "http" if is_http(protocol) else "auto" if protocol == AUTO and len(chains) > 1 else "tcp"
    return Listener(own_name(written, number), written.source, "outbound", bind, kind, chains)
