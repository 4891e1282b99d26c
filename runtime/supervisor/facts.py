"""What the supervisor itself reads of a slice: what to bind, which names to resolve, which keys to find, who the proxy is."""

from __future__ import annotations

import msgspec

from policies.tokens import KeySource
from snapshot.encode import FormatError, decode_section
from snapshot.index import Slice
from snapshot.section import (
    AddressPort,
    Cluster,
    DnsEndpoints,
    GatewayPort,
    Listener,
    MeshTls,
    MeshUpstream,
    NameTable,
    Proxy,
    TokenSet,
    UndeclaredPort,
    WorkloadPort,
)

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  what is looked for, not what is bound
READ_KINDS = frozenset({"proxy", "listener", "cluster", "tokens", "names"})

Name = tuple[str, int]


class SliceFacts(msgspec.Struct, frozen=True):
    """One slice, as far as the supervisor reads it. ``mesh`` says that it cannot serve without an SVID; ``headless`` are the clusters whose
    endpoints some name of ``tables`` means; ``keys`` are the slots for keys that check tokens."""

    proxy: Proxy
    listeners: tuple[Listener, ...]
    names: frozenset[Name]
    mesh: bool
    tables: tuple[NameTable, ...] = ()
    headless: dict[str, Cluster] = {}
    keys: frozenset[KeySource] = frozenset()

    @property
    def inbound_ports(self) -> tuple[int, ...]:
        """The ports on which others may reach this workload, ascending: a sidecar's target ports, a gateway's own (calls reach an egress).

        An ingress that a Sidecar binds to every address is found at the workload's, too.
        """
        return tuple(sorted({port for one in self.listeners if (port := _reached_at(one))}))


def _reached_at(listener: Listener) -> int:
    """The port on which others reach a listener, 0 where they do not."""
    match listener.bind:
        case WorkloadPort(port) | GatewayPort(port, datagrams=False, address=""):
            return port
        case GatewayPort(port, datagrams=False, address=address) if address in EVERYWHERE:
            return port
        case AddressPort(address, port) if listener.direction == "inbound" and address in EVERYWHERE:
            return port
        case _:
            return 0


def read_facts(slice_: Slice) -> SliceFacts:
    """Decodes the few sections that matter here; raises FormatError."""
    proxy: Proxy | None = None
    listeners: list[Listener] = []
    names: set[Name] = set()
    tables: list[NameTable] = []
    keys: set[KeySource] = set()
    clusters: dict[str, Cluster] = {}
    mesh = False
    for ref in slice_.index.sections:
        if ref.kind not in READ_KINDS:
            continue
        section = decode_section(slice_.blobs[ref.behaviour])
        if isinstance(section, Proxy):
            proxy = section
        elif isinstance(section, Listener):
            listeners.append(section)
            declared = not isinstance(section.bind, UndeclaredPort)
            mesh = mesh or (declared and any(isinstance(chain.tls, MeshTls) for chain in section.chains))
        elif isinstance(section, NameTable):
            tables.append(section)
        elif isinstance(section, TokenSet):
            keys.update(rule.keys for rule in section.rules if not rule.keys.jwks)
        elif isinstance(section, Cluster):
            clusters[section.name] = section
            if isinstance(section.endpoints, DnsEndpoints):
                names.update(section.endpoints.names)
            mesh = mesh or isinstance(section.tls, MeshUpstream)
    if proxy is None:
        raise FormatError("undecodable", f"slice {slice_.entry.name} has no proxy section")
    headless = {entry.cluster for table in tables for entry in table.entries} & clusters.keys()
    return SliceFacts(
        proxy,
        tuple(listeners),
        frozenset(names),
        mesh,
        tuple(tables),
        {name: clusters[name] for name in headless},
        frozenset(keys),
    )
