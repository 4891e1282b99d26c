"""VirtualServices whose hosts their gateway does not serve."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.hosts import full_host, overlap
from compiler.mesh import Mesh
from compiler.resources.gateway import Gateway
from compiler.resources.virtual_service import MESH


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0132 at each VirtualService and gateway that have no host in common for one of the hosts."""
    for service in mesh.virtual_services:
        for reference in service.gateways:
            gateway = mesh.gateway(reference.value, service.meta.namespace)
            if reference.value == MESH or gateway is None:
                continue
            missing = [
                host
                for host in service.hosts
                if not _serves(gateway, full_host(host.value, service.meta.namespace), service.meta.namespace)
            ]
            if missing:
                names = ", ".join(f"`{host.value}`" for host in missing)
                message = f"{names} is not among the hosts of {gateway.meta.id}, so it serves no such request there"
                yield diagnostic("IST0132", message, missing[0].span, resource=service.meta.id)


def _serves(gateway: Gateway, host: str, namespace: str) -> bool:
    return any(
        overlap(offered.host, host) is not None
        for server in gateway.servers
        for offered in server.hosts
        if offered.namespace in ("*", namespace) or (offered.namespace == "." and namespace == gateway.meta.namespace)
    )
