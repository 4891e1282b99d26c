"""Hosts that two namespaces claim: at one gateway, or as ServiceEntries that some namespace sees both of."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Span
from compiler.hosts import full_host, is_visible, overlap
from compiler.link.gateway_hosts import common_hosts
from compiler.mesh import Mesh
from compiler.resources.meta import Meta
from compiler.resources.service_entry import ServiceEntry
from compiler.resources.virtual_service import MESH


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0132 at the host of each claim that is not the first; of VirtualServices in the mesh IST0109 speaks."""
    claims: dict[object, tuple[Meta, Span]] = {}
    for service in mesh.virtual_services:
        for reference in service.gateways:
            gateway = mesh.gateway(reference.value, service.meta.namespace)
            if reference.value == MESH or gateway is None:
                continue
            served = {name for server in gateway.servers for name in common_hosts(gateway, server, service)}
            for host in service.hosts:
                if all(overlap(name, full_host(host.value, service.meta.namespace)) is None for name in served):
                    continue
                first, span = claims.setdefault((gateway.meta.id, host.value.lower()), (service.meta, host.span))
                if first.namespace != service.meta.namespace:
                    message = (
                        f"{first.id} already routes `{host.value}` at {gateway.meta.id}; the older rules come first"
                    )
                    related = (Related(span, "the first claim"),)
                    yield diagnostic("WFT0132", message, host.span, resource=service.meta.id, related=related)
    for name, services in mesh.by_host.items():
        entries = [service.origin for service in services if isinstance(service.origin, ServiceEntry)]
        for entry in entries[1:]:
            if entry.meta.namespace != entries[0].meta.namespace and _both_seen(entries[0], entry):
                span = next(host.span for host in entry.hosts if host.value.lower() == name)
                message = f"{entries[0].meta.id} declares `{name}` too, and namespaces that see both use that one"
                related = (Related(entries[0].meta.span, "the first claim"),)
                yield diagnostic("WFT0132", message, span, resource=entry.meta.id, related=related)


def _both_seen(first: ServiceEntry, second: ServiceEntry) -> bool:
    scopes = {*first.export_to, *second.export_to, first.meta.namespace, second.meta.namespace} - {".", "*"}
    return any(
        is_visible(first.export_to, first.meta.namespace, scope)
        and is_visible(second.export_to, second.meta.namespace, scope)
        for scope in scopes
    )
