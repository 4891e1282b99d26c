"""Routes for a wildcard of external hosts of which the ServiceEntry declares fewer."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import covers, is_visible
from compiler.mesh import Mesh
from compiler.resources.service_entry import ServiceEntry


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0133 at the VirtualService's host."""
    external = [
        (service.host, service.origin.meta, service.origin.export_to)
        for service in mesh.services
        if isinstance(service.origin, ServiceEntry) and not service.origin.in_mesh
    ]
    for service in mesh.virtual_services:
        namespace = service.meta.namespace
        seen = [(host, meta) for host, meta, exports in external if is_visible(exports, meta.namespace, namespace)]
        for host in service.hosts:
            name = host.value.lower()
            if name == "*" or not name.startswith("*") or any(covers(declared, name) for declared, _ in seen):
                continue
            narrower = [(declared, meta) for declared, meta in seen if covers(name, declared)]
            if narrower:
                shown = ", ".join(f"`{declared}`" for declared, _ in narrower[:3])
                message = f"`{name}` also takes hosts that no ServiceEntry declares; declared is {shown}"
                related = tuple(Related(meta.span, "the ServiceEntry") for _, meta in narrower[:3])
                yield diagnostic("WFT0133", message, host.span, resource=service.meta.id, related=related)
