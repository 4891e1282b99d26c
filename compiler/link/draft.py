"""One slice while it is collected: sections of one proxy, each name once, and the slots that they declare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from compiler.link.clusters import PASSTHROUGH
from compiler.resources.cursor import Labels
from policies.traffic import Destination, Forward, Mirror
from snapshot.section import (
    ROUTES_PER_BLOCK,
    Cluster,
    CredentialSlot,
    Listener,
    NameTable,
    Proxy,
    Route,
    RouteBlock,
    RouteTable,
    Section,
    ServerTls,
    TcpChain,
    TlsUpstream,
    UdpChain,
    VirtualHost,
    section_key,
)

SectionKey = tuple[str, str]


class ProxyShape(msgspec.Struct, frozen=True):
    """Whom a slice is for: what becomes its entry in the snapshot's index."""

    name: str
    proxy: str
    namespace: str
    labels: Labels


class LinkedPart:
    """Sections that several slices have in common, by kind and name in canonical order, and the slots that they declare."""

    def __init__(self, sections: dict[SectionKey, Section]) -> None:
        self.sections = sections
        self.slots = slots(sections.values())


class LinkedSlice(msgspec.Struct, frozen=True):
    """A finished slice: its own sections in canonical order, and the part that it shares with others."""

    shape: ProxyShape
    sections: tuple[Section, ...]
    part: LinkedPart | None = None


class SliceDraft:
    """Owns the sections of one slice until ``finish``; ``part`` holds some that other slices have too.

    The first section of a name stays, the part's before all others; the compiler has ordered competitors before.
    """

    def __init__(self, part: LinkedPart | None = None) -> None:
        self._part = part
        self._sections: dict[SectionKey, Section] = {}

    def add(self, sections: Iterable[Section]) -> None:
        """Takes sections in."""
        for key, section in keyed(sections).items():
            if self._part is None or key not in self._part.sections:
                self._sections.setdefault(key, section)

    def finish(self, shape: ProxyShape, proxy: Proxy) -> LinkedSlice:
        """The slice, its proxy section completed with the credential slots that listeners and clusters name."""
        found = slots(self._sections.values())
        for name, hosts in self._part.slots.items() if self._part else ():
            found[name] = found.get(name, set()) | hosts
        named = tuple(CredentialSlot(name, tuple(sorted(hosts))) for name, hosts in sorted(found.items()))
        self.add((msgspec.structs.replace(proxy, credentials=named),))
        ordered = sorted(self._sections.items(), key=lambda item: item[0])
        return LinkedSlice(shape, tuple(section for _, section in ordered), self._part)


def slots(sections: Iterable[Section]) -> dict[str, set[str]]:
    """The credential slots that listeners and clusters name, each with the hosts that it is expected to cover."""
    found: dict[str, set[str]] = {}
    for section in sections:
        if isinstance(section, Cluster) and isinstance(section.tls, TlsUpstream):
            for name in (section.tls.ca, section.tls.credential):
                found.setdefault(name, set())
        if isinstance(section, Listener):
            for chain in section.chains:
                if isinstance(chain.tls, ServerTls):
                    for name in chain.tls.credentials:
                        found.setdefault(name, set()).update(chain.server_names)
                    found.setdefault(chain.tls.client_ca, set())
    found.pop("", None)
    return found


def keyed(sections: Iterable[Section]) -> dict[SectionKey, Section]:
    """Sections by kind and name, the first of each."""
    found: dict[SectionKey, Section] = {}
    for section in sections:
        found.setdefault(section_key(section), section)
    return found


def virtual_host_sections(host: VirtualHost, routes: Sequence[Route]) -> list[Section]:
    """A virtual host and its routes in blocks."""
    blocks = [tuple(routes[start : start + ROUTES_PER_BLOCK]) for start in range(0, len(routes), ROUTES_PER_BLOCK)]
    sections: list[Section] = [msgspec.structs.replace(host, blocks=len(blocks))]
    sections.extend(RouteBlock(host.table, host.name, ordinal, block) for ordinal, block in enumerate(blocks))
    return sections


def used_clusters(sections: Iterable[Section], known: dict[str, Cluster]) -> list[Section]:
    """The clusters that routes, chains, tables and names name, from those that a view has built."""
    names: dict[str, None] = {}
    for section in sections:
        for destination in _destinations(section):
            if destination.cluster:
                names[destination.cluster] = None
        if isinstance(section, RouteTable):
            names[section.unmatched] = None
        elif isinstance(section, NameTable):
            names.update((entry.cluster, None) for entry in section.entries)
    every = {PASSTHROUGH.name: PASSTHROUGH, **known}
    return [every[name] for name in sorted(names) if name in every]


def _destinations(section: Section) -> Iterable[Destination | Mirror]:
    match section:
        case RouteBlock(routes=routes):
            for route in routes:
                if isinstance(route.action, Forward):
                    yield from route.action.destinations
                    yield from route.action.mirrors
        case Listener(chains=chains):
            for chain in chains:
                if isinstance(chain.network, TcpChain | UdpChain):
                    yield from chain.network.destinations
        case _:
            return
