"""HTTPRoutes that attach to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.attachment import attachment_problem, standing_listeners
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.http_route import HttpRoute, ParentRef
from compiler.resources.meta import GATEWAY_API


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0110 at each parentRef that comes to nothing, with the reason."""
    for route in mesh.http_routes:
        for parent in route.parents:
            reason = _problem(mesh, route, parent)
            if reason:
                yield diagnostic(
                    "WFT0110", f"the route does not attach: {reason}", parent.target.span, resource=route.meta.id
                )


def _problem(mesh: Mesh, route: HttpRoute, parent: ParentRef) -> str:
    target = parent.target
    name = f"{target.kind} {target.namespace}/{target.name}"
    if (target.group, target.kind) == ("", "Service"):
        service = mesh.kubernetes_service(target.namespace, target.name)
        if service is None:
            return f"{name} does not exist"
        return "" if not parent.port or service.port(parent.port) else f"{name} has no port {parent.port}"
    if (target.group, target.kind) != (GATEWAY_API, "Gateway"):
        return f"parents of kind {target.kind} are not carried yet"
    gateway = mesh.api_gateways.get((target.namespace, target.name))
    if gateway is None:
        return f"{name} does not exist"
    if not mesh.serves(gateway):
        return ""
    standing, _ = standing_listeners(mesh, gateway)
    reasons = [attachment_problem(mesh, gateway, listener, route, parent) for listener in standing]
    return "" if "" in reasons else "; ".join(reasons) or f"{name} has no listener that stands"
