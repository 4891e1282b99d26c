"""Endpoints that stand in Git: EndpointSlice and Endpoints of a Service, and WorkloadEntry, which a selector finds like a pod."""

from __future__ import annotations

import ipaddress

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.meta import Meta, open_document
from compiler.resources.service_entry import EntryEndpoint, read_endpoint

SERVICE_LABEL = "kubernetes.io/service-name"


class WorkloadEntry(msgspec.Struct, frozen=True):
    """A workload outside of Kubernetes. ``endpoint`` has the labels of the spec: those that selectors see."""

    meta: Meta
    endpoint: EntryEndpoint

    @property
    def has_address(self) -> bool:
        """Whether it is at an IP address, and not at a name, a unix socket or only in a network: nothing else takes traffic yet."""
        try:
            ipaddress.ip_address(self.endpoint.address)
        except ValueError:
            return False
        return True


class AddressGroup(msgspec.Struct, frozen=True):
    """Addresses that take traffic on the same ports; ``ports`` maps the names of the service's ports to numbers."""

    addresses: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]


class ServiceEndpoints(msgspec.Struct, frozen=True):
    """The endpoints of a service of the same namespace; ``service`` is "" where the slice names none, which is then nobody's."""

    meta: Meta
    service: str
    groups: tuple[AddressGroup, ...]


def read_workload_entry(document: Document, positions: Positions) -> WorkloadEntry:
    """A WorkloadEntry document."""
    meta, root = open_document(document, positions)
    return WorkloadEntry(meta, read_endpoint(root.at("spec") or root))


def read_endpoint_slice(document: Document, positions: Positions) -> ServiceEndpoints:
    """An EndpointSlice document; endpoints that are not ready are left out. Absent conditions mean ready (Kubernetes' API)."""
    meta, root = open_document(document, positions)
    ready = (endpoint for endpoint in root.each("endpoints") if _is_ready(endpoint))
    # The addresses of one endpoint are the same endpoint: clients use the first.
    addresses = tuple(endpoint.texts("addresses")[0] for endpoint in ready)
    return ServiceEndpoints(meta, dict(meta.labels).get(SERVICE_LABEL, ""), (AddressGroup(addresses, _ports(root)),))


def read_endpoints(document: Document, positions: Positions) -> ServiceEndpoints:
    """An Endpoints document: it bears the name of its service."""
    meta, root = open_document(document, positions)
    groups = (
        AddressGroup(tuple(address.text("ip") for address in subset.each("addresses")), _ports(subset))
        for subset in root.each("subsets")
    )
    return ServiceEndpoints(meta, meta.name, tuple(groups))


def _is_ready(endpoint: Cursor) -> bool:
    conditions = endpoint.at("conditions")
    return conditions is None or not conditions.has("ready") or conditions.flag("ready")


def _ports(parent: Cursor) -> tuple[tuple[str, int], ...]:
    return tuple(
        (port.text("name"), port.number("port"))
        for port in parent.each("ports")
        if port.text("protocol", "TCP") in ("TCP", "UDP") and port.has("port")
    )
