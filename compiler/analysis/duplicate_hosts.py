"""Several VirtualServices for one host in the mesh: sidecars obey the first alone, so the others have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import full_host, is_visible
from compiler.link.virtual_services import binds
from compiler.mesh import Mesh
from compiler.resources.virtual_service import MESH, VirtualService


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0109 at the host of each that comes later in the order between resources."""
    first: dict[str, list[VirtualService]] = {}
    for service in mesh.virtual_services:
        if not binds(service, MESH):
            continue
        for host in service.hosts:
            name = full_host(host.value, service.meta.namespace)
            rivals = first.setdefault(name, [])
            winner = next((rival for rival in rivals if rival is not service and _meet(rival, service)), None)
            if winner is not None:
                yield diagnostic(
                    "IST0109",
                    f"sidecars already route `{name}` by {winner.meta.id}; this one has no effect for it",
                    host.span,
                    resource=service.meta.id,
                    related=(Related(winner.meta.span, "the one that holds"),),
                )
            rivals.append(service)


def _meet(a: VirtualService, b: VirtualService) -> bool:
    """Whether some namespace sees both."""
    namespaces = {a.meta.namespace, b.meta.namespace, *a.export_to, *b.export_to} - {"*", "."}
    return any(
        is_visible(a.export_to, a.meta.namespace, namespace) and is_visible(b.export_to, b.meta.namespace, namespace)
        for namespace in namespaces
    )
