"""Services of type ExternalName whose ports do not say HTTP or TLS: without a name in the traffic, it cannot be told from other traffic."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.kubernetes import Service
from compiler.resources.protocol import AUTO


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0150 at the port."""
    for service in mesh.services:
        origin = service.origin
        if not isinstance(origin, Service) or not origin.external_name:
            continue
        for port in origin.ports:
            if port.protocol in (AUTO, "tcp"):
                message = (
                    f"port {port.number} `{port.name}` of an ExternalName service should say its protocol, not TCP"
                )
                yield diagnostic("IST0150", message, port.span, resource=origin.meta.id)
