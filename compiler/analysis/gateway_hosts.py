"""VirtualServices none of whose hosts their gateway serves."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.gateway_references import GENERATED
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Severity
from compiler.hosts import full_host, overlap
from compiler.mesh import Mesh
from compiler.resources.gateway import Gateway
from compiler.resources.virtual_service import MESH


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0132 at the hosts, once for each gateway that has none of them (a note where there is no such gateway: IST0101 says so)."""
    for service in mesh.virtual_services:
        # One without hosts is a delegate: others' gateways and hosts are its own.
        for reference in service.gateways if service.hosts else ():
            gateway = mesh.gateway(reference.value, service.meta.namespace)
            if gateway is None and reference.value != MESH and GENERATED not in reference.value:
                message = f"no gateway serves these hosts: `{reference.value}` does not exist"
                span, severity = service.hosts[0].span, Severity.NOTE
                yield diagnostic("IST0132", message, span, resource=service.meta.id, severity=severity)
            if reference.value == MESH or gateway is None:
                continue
            namespace = service.meta.namespace
            if not any(_serves(gateway, full_host(host.value, namespace), namespace) for host in service.hosts):
                names = ", ".join(f"`{host.value}`" for host in service.hosts)
                message = f"{gateway.meta.id} serves none of {names}, so these routes answer no request there"
                related = (Related(gateway.meta.span, "the Gateway"),)
                yield diagnostic("IST0132", message, service.hosts[0].span, resource=service.meta.id, related=related)


def _serves(gateway: Gateway, host: str, namespace: str) -> bool:
    return any(
        overlap(offered.host, host) is not None
        for server in gateway.servers
        for offered in server.hosts
        if offered.namespace in ("*", namespace) or (offered.namespace == "." and namespace == gateway.meta.namespace)
    )
