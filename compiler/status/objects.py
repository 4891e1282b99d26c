"""All statuses of a mesh: routes are bound once, then counted at their listeners and read for their own conditions."""

from __future__ import annotations

from collections.abc import Container

from compiler.attachment import Bound, Standing
from compiler.diagnostic import ResourceId
from compiler.mesh import Mesh
from compiler.resources.api_route import ApiRoute
from compiler.resources.gateway_api import CONTROLLERS, ApiGateway
from compiler.status.condition import ObjectStatus
from compiler.status.gateways import class_status, gateway_status, key, listener_set_status
from compiler.status.policies import policy_statuses
from compiler.status.routes import bound_to, route_status


def statuses(
    mesh: Mesh, *, complete: bool = False, refused: Container[ResourceId | None] = frozenset()
) -> list[ObjectStatus]:
    """The status of every Gateway API object that weft would answer for: by kind, in order within a kind.

    With ``complete``, a Secret or ConfigMap that the tree lacks does not exist; else it is taken to exist elsewhere. ``refused`` are objects
    with errors, which no API server would take: they get no status. Depends on its arguments alone: no clock, no generation.
    """
    standing = Standing(mesh, complete=complete)
    bound = [(route, [bound_to(standing, route, parent) for parent in route.parents]) for route in mesh.api_routes]
    counts = _counts(bound)
    gateways = [gateway for gateway in mesh.api_gateways.values() if mesh.serves(gateway)]
    sets = (listener_set_status(standing, item, counts) for item in mesh.listener_sets)
    classes = {item.meta.name: item for item in mesh.written("GatewayClass")}
    found = [class_status(item, classes[name]) for name, item in mesh.classes.items() if item.controller in CONTROLLERS]
    found += [gateway_status(standing, gateway, counts) for gateway in gateways]
    found += [status for status in sets if status is not None]
    found += [route_status(standing, route, bounds) for route, bounds in bound]
    found += policy_statuses(standing, _leading(bound))
    return [status for status in found if status.meta.id not in refused]


def _counts(bound: list[tuple[ApiRoute, list[Bound | None]]]) -> dict[tuple[str, str, str, str], int]:
    """Routes by listener; a route counts once, however many of its parentRefs select the listener."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for _, bounds in bound:
        for place in {key(place) for item in bounds if item is not None for place in item.selected}:
            counts[place] = counts.get(place, 0) + 1
    return counts


def _leading(bound: list[tuple[ApiRoute, list[Bound | None]]]) -> dict[tuple[str, str], list[ApiGateway]]:
    """The Gateways from which routes lead to each Service."""
    leading: dict[tuple[str, str], dict[tuple[str, str], ApiGateway]] = {}
    for route, bounds in bound:
        gateways = [binding.place.gateway for item in bounds if item is not None for binding in item.bindings]
        for backend in route.backends if gateways else ():
            if (backend.target.group, backend.target.kind) == ("", "Service"):
                at = leading.setdefault((backend.target.namespace, backend.target.name), {})
                at.update(((gateway.meta.namespace, gateway.meta.name), gateway) for gateway in gateways)
    return {service: list(gateways.values()) for service, gateways in leading.items()}
