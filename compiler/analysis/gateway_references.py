"""VirtualServices bound to gateways that do not exist: their routes would serve nobody."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.virtual_service import MESH


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101 at the gateway's name."""
    for service in mesh.virtual_services:
        scopes = [match.scope for rule in service.http for match in rule.matches]
        scopes += [match.scope for rule in (*service.tls, *service.tcp) for match in rule.matches]
        for reference in (*service.gateways, *(name for scope in scopes for name in scope.gateways)):
            if reference.value != MESH and mesh.gateway(reference.value, service.meta.namespace) is None:
                known = ", ".join(f"{namespace}/{name}" for namespace, name in sorted(mesh.gateways)) or "none"
                message = f"gateway `{reference.value}` does not exist; there is {known}"
                yield diagnostic("IST0101", message, reference.span, resource=service.meta.id)
