"""Several VirtualServices for one host in the mesh: sidecars obey the first alone, so the others have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import full_host, is_visible
from compiler.link.virtual_services import binds
from compiler.mesh import Mesh
from compiler.resources.cursor import Located
from compiler.resources.virtual_service import MESH, VirtualService

Claim = tuple[VirtualService, Located]


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0109 at the host of each of them: whoever edits the one that holds should know of the others too."""
    claims: dict[str, list[Claim]] = {}
    for service in mesh.virtual_services:
        for host in service.hosts if binds(service, MESH) else ():
            claims.setdefault(full_host(host.value, service.meta.namespace), []).append((service, host))
    for name, claimed in claims.items():
        for index, (service, host) in enumerate(claimed):
            rivals = [rival for rival, _ in claimed if rival is not service and _meet(rival, service)]
            winner = next((rival for rival, _ in claimed[:index] if rival in rivals), None)
            if winner is not None:
                message = f"sidecars already route `{name}` by {winner.meta.id}; this one has no effect for it"
            elif rivals:
                message = f"sidecars route `{name}` by this one alone; {rivals[0].meta.id} has no effect for it"
            else:
                continue
            words = "the one that holds" if winner else "one without effect"
            related = (Related((winner or rivals[0]).meta.span, words),)
            yield diagnostic("IST0109", message, host.span, resource=service.meta.id, related=related)


def _meet(a: VirtualService, b: VirtualService) -> bool:
    """Whether some namespace sees both."""
    namespaces = {a.meta.namespace, b.meta.namespace, *a.export_to, *b.export_to} - {"*", "."}
    return any(
        is_visible(a.export_to, a.meta.namespace, namespace) and is_visible(b.export_to, b.meta.namespace, namespace)
        for namespace in namespaces
    )
