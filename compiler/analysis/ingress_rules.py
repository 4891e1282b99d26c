"""Rules of the mesh for a host to which a gateway routes by itself: requests through the gateway do not obey them."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import full_host
from compiler.link.virtual_services import binds
from compiler.mesh import Mesh
from compiler.resources.virtual_service import MESH, Target, VirtualService, targets_of


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0140 at the host of a VirtualService of the mesh alone that routes to subsets of that host."""
    direct: dict[str, tuple[VirtualService, Target]] = {}
    for service in mesh.virtual_services:
        if any(gateway.value != MESH for gateway in service.gateways):
            for target in targets_of(service):
                if target.subset is None:
                    direct.setdefault(full_host(target.host.value, service.meta.namespace), (service, target))
    for service in mesh.virtual_services:
        if binds(service, MESH) and not any(gateway.value != MESH for gateway in service.gateways):
            yield from _unheeded(service, direct)


def _unheeded(service: VirtualService, direct: dict[str, tuple[VirtualService, Target]]) -> Iterator[Diagnostic]:
    namespace = service.meta.namespace
    split = {full_host(target.host.value, namespace) for target in targets_of(service) if target.subset is not None}
    for host in service.hosts:
        name = full_host(host.value, namespace)
        if name in split and name in direct:
            entry, target = direct[name]
            message = f"{entry.meta.id} routes to `{name}` at a gateway, where the subsets of this VirtualService have no effect"
            related = (Related(target.span, "the gateway's destination"),)
            yield diagnostic("IST0140", message, host.span, resource=service.meta.id, related=related)
