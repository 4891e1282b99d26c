"""The status of routes of all kinds, one entry per parentRef, from what the parentRef binds to (compiler/attachment.py)."""

from __future__ import annotations

from compiler.api_references import Verdict, backend_problem
from compiler.attachment import Bound, Standing, bind, served_gateway
from compiler.mesh import Mesh
from compiler.resources.api_route import ApiRoute, ParentRef
from compiler.status.condition import CONTROLLER, Condition, ObjectStatus, ParentStatus, judged
from compiler.status.gateways import controller_of

_WORST_FIRST = ("RefNotPermitted", "InvalidKind", "BackendNotFound")
"""Of several references that cannot be followed, which one the condition names."""


def route_status(standing: Standing, route: ApiRoute, bounds: list[Bound | None]) -> ObjectStatus:
    """A route's status; ``bounds`` are what its parentRefs came to, in their order. Parents that are not weft's have no entry."""
    unresolved = _unresolved(standing.mesh, route)
    parents = []
    for parent, bound in zip(route.parents, bounds, strict=True):
        if bound is not None:
            parents.append(
                ParentStatus(
                    reference=parent.written,
                    controller=_controller(standing.mesh, parent),
                    conditions=tuple(_conditions(route, bound, unresolved)),
                )
            )
    return ObjectStatus(route.meta, route.meta.id.kind, parents=tuple(parents))


def bound_to(standing: Standing, route: ApiRoute, parent: ParentRef) -> Bound | None:
    """What a parentRef comes to, Services (in the mesh) included; None where the parent is not weft's to answer for."""
    target = parent.target
    if (target.group, target.kind) != ("", "Service"):
        return bind(standing, route, parent)
    ports = standing.mesh.service_ports.get((target.namespace, target.name))
    name = f"Service {target.namespace}/{target.name}"
    if ports is None:
        return Bound(refused=Verdict("NoMatchingParent", f"{name} does not exist"))
    if parent.port and not any(number == parent.port for number, _ in ports):
        return Bound(refused=Verdict("NoMatchingParent", f"{name} has no port {parent.port}"))
    return Bound()


def _conditions(route: ApiRoute, bound: Bound, unresolved: Verdict | None) -> list[Condition]:
    unsupported = "; ".join(route.unsupported)
    none_left = bool(route.unsupported) and len(route.unsupported) == route.rules
    problem = bound.refused or (Verdict("UnsupportedValue", unsupported) if none_left else None)
    found = [
        judged("Accepted", problem, "Accepted", "the route is accepted"),
        judged("ResolvedRefs", unresolved, "ResolvedRefs", "all references lead somewhere"),
    ]
    if route.unsupported and problem is None:
        # The specification asks that the message says what became of the rule.
        message = f"Dropped Rule: {unsupported}; its requests are answered with a failure"
        found.append(Condition("PartiallyInvalid", True, "UnsupportedValue", message))
    return found


def _unresolved(mesh: Mesh, route: ApiRoute) -> Verdict | None:
    found = (backend_problem(mesh, route, backend.target, backend.port) for backend in route.backends)
    problems = [problem for problem in found if problem is not None]
    return min(problems, key=lambda problem: _WORST_FIRST.index(problem.reason), default=None)


def _controller(mesh: Mesh, parent: ParentRef) -> str:
    gateway = served_gateway(mesh, parent)
    return controller_of(mesh, gateway, CONTROLLER) if gateway else CONTROLLER
