"""ServiceEntry: hosts that no Kubernetes Service declares."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Located, Positions
from compiler.resources.kubernetes import Port
from compiler.resources.meta import BY_DEFAULT, Meta, open_document
from compiler.resources.protocol import UDP, WELL_KNOWN_TCP, parse_protocol

ALLOCATION_LABEL = "networking.istio.io/enable-autoallocate-ip"


class EntryEndpoint(msgspec.Struct, frozen=True):
    """One address of a ServiceEntry or of a WorkloadEntry; ``ports`` maps port names to numbers where they differ from the entry's."""

    address: str
    ports: tuple[tuple[str, int], ...]
    labels: Labels
    weight: int
    locality: str
    service_account: str


class ServiceEntry(msgspec.Struct, frozen=True):
    """A ServiceEntry. ``location`` defaults to outside the mesh, ``resolution`` to NONE (where the request was going)."""

    meta: Meta
    hosts: tuple[Located, ...]
    addresses: tuple[str, ...]
    ports: tuple[Port, ...]
    in_mesh: bool
    resolution: str
    endpoints: tuple[EntryEndpoint, ...]
    selector: Labels
    export_to: tuple[str, ...]
    subject_alt_names: tuple[str, ...]
    allocated: Labels = ()
    """Addresses that somebody allocated already, each after the host that it is for ("" for all)."""
    allocates: bool = True
    """Whether hosts without an address may be given one."""


def read_service_entry(document: Document, positions: Positions) -> ServiceEntry:
    """A ServiceEntry document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    selector = spec.at("workloadSelector")
    return ServiceEntry(
        meta=meta,
        hosts=spec.references("hosts"),
        addresses=spec.texts("addresses"),
        # Datagrams are refused by name (compiler/carried_leaves.py); Istio's proxies leave such ports out, too.
        ports=tuple(_port(port) for port in spec.each("ports") if port.text("protocol").upper() != UDP),
        in_mesh=spec.text("location", "MESH_EXTERNAL") == "MESH_INTERNAL",
        resolution=spec.text("resolution", "NONE"),
        endpoints=tuple(read_endpoint(endpoint) for endpoint in spec.each("endpoints")),
        selector=selector.labels("labels") if selector else (),
        export_to=spec.texts("exportTo") or BY_DEFAULT,
        subject_alt_names=spec.texts("subjectAltNames"),
        allocated=_allocated(root.at("status")),
        allocates=dict(meta.labels).get(ALLOCATION_LABEL) != "false",
    )


def _allocated(status: Cursor | None) -> Labels:
    found = status.each("addresses") if status is not None else ()
    return tuple((address.text("host").lower(), address.text("value")) for address in found if address.text("value"))


def _port(port: Cursor) -> Port:
    number = port.number("number")
    protocol = parse_protocol(port.text("protocol"))
    if protocol == "auto" and number in WELL_KNOWN_TCP:
        protocol = "tcp"
    return Port(
        number=number,
        name=port.text("name"),
        protocol=protocol,
        target=port.number("targetPort") or number,
        target_name="",
        source=port.source(),
        span=port.span,
    )


def read_endpoint(endpoint: Cursor) -> EntryEndpoint:
    """One endpoint of a ServiceEntry, or the spec of a WorkloadEntry."""
    return EntryEndpoint(
        address=endpoint.text("address"),
        ports=tuple((name, int(number)) for name, number in endpoint.labels("ports")),
        labels=endpoint.labels("labels"),
        weight=endpoint.number("weight") or 1,
        locality=endpoint.text("locality"),
        service_account=endpoint.text("serviceAccount"),
    )
