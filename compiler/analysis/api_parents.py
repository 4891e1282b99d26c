"""Routes of Gateway API that attach to nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from compiler.attachment import Standing, bind
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.api_route import ApiRoute, ParentRef
from compiler.resources.meta import GATEWAY_API


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0110 at each parentRef that comes to nothing, with the reason."""
    standing = Standing(mesh)
    for route in mesh.api_routes:
        for parent in route.parents:
            reason = _problem(standing, route, parent)
            if reason:
                message = f"the route does not attach: {reason}"
                yield diagnostic("WFT0110", message, parent.target.span, resource=route.meta.id)


def _problem(standing: Standing, route: ApiRoute, parent: ParentRef) -> str:
    mesh, target = standing.mesh, parent.target
    name = f"{target.kind} {target.namespace}/{target.name}"
    if (target.group, target.kind) == ("", "Service"):
        ports = mesh.service_ports.get((target.namespace, target.name))
        if ports is None:
            return f"{name} does not exist"
        known = not parent.port or any(number == parent.port for number, _ in ports)
        return "" if known else f"{name} has no port {parent.port}"
    kinds: dict[str, Collection[tuple[str, str]]] = {
        "Gateway": mesh.api_gateways,
        "ListenerSet": mesh.listener_sets_by_place,
    }
    places = kinds.get(target.kind)
    if target.group != GATEWAY_API or places is None:
        return f"parents of kind {target.kind} are not carried yet"
    if (target.namespace, target.name) not in places:
        return f"{name} does not exist"
    bound = bind(standing, route, parent)
    return bound.refused.message if bound is not None and bound.refused is not None else ""
