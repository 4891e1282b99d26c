"""Which routes of Gateway API attach to which listeners, and with which hostnames: the one answer for link, findings and status.

bind(Standing(mesh), route, parent)       the listeners that one parentRef of a route of any kind binds to, or why there are none
attachments(mesh, place)                  the HTTPRoutes and GRPCRoutes on one listener, as link asks
connections(mesh, place)                  the TLSRoutes, TCPRoutes and UDPRoutes on one listener, as link asks
standing_listeners(mesh, gateway)         the listeners that link serves, and the others with the reason
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from compiler.api_listeners import (
    PlacedListener,
    names,
    namespace_allowed,
    placed_listeners,
    set_problem,
)
from compiler.api_references import Verdict
from compiler.hosts import overlap
from compiler.mesh import Mesh
from compiler.resources.api_route import Attachable, ParentRef
from compiler.resources.connection_route import ConnectionRoute
from compiler.resources.gateway_api import ApiGateway, ApiListener, ListenerSet
from compiler.resources.http_route import HttpRoute
from compiler.resources.meta import GATEWAY_API

CARRIED_PROTOCOLS = frozenset({"HTTP", "HTTPS", "TLS", "TCP", "UDP"})
"""The protocols of listeners that link makes chains of."""
HOSTED_KINDS = frozenset({"HTTPRoute", "GRPCRoute", "TLSRoute"})
"""The kinds of route that have hostnames."""
_R = TypeVar("_R", bound=Attachable)
_CONFLICTED = 5
"""How near a route comes to a listener that takes it and is refused itself."""


class Refused(msgspec.Struct, frozen=True):
    """A listener that does not stand, and why."""

    place: PlacedListener
    reason: str


class Attached(msgspec.Struct, frozen=True):
    """A route on a listener, with the hosts that both have in common."""

    route: HttpRoute
    hosts: tuple[str, ...]


class Binding(msgspec.Struct, frozen=True):
    """A listener that a route binds to, with the hosts that both have in common: ``("*",)`` is every host, and all that TCP and UDP have."""

    place: PlacedListener
    hosts: tuple[str, ...]


class Bound(msgspec.Struct, frozen=True):
    """What one parentRef comes to: its bindings, or the reason why there is none.

    ``selected`` are all listeners that take the route, those too that do not exist because of a conflict: a status counts routes there.
    """

    bindings: tuple[Binding, ...] = ()
    refused: Verdict | None = None
    selected: tuple[PlacedListener, ...] = ()


class Standing:
    """The listeners of Gateways, worked out once per Gateway. Owns what it worked out; the mesh must not change."""

    def __init__(self, mesh: Mesh, *, complete: bool = False) -> None:
        self.mesh = mesh
        self.complete = complete
        self._placed: dict[tuple[str, str], list[PlacedListener]] = {}

    def listeners(self, gateway: ApiGateway) -> list[PlacedListener]:
        """All listeners of a Gateway, those of its ListenerSets too, in order of precedence."""
        place = (gateway.meta.namespace, gateway.meta.name)
        if place not in self._placed:
            self._placed[place] = placed_listeners(self.mesh, gateway, complete=self.complete)
        return self._placed[place]


def bind(standing: Standing, route: Attachable, parent: ParentRef) -> Bound | None:
    """The listeners that a parentRef to a Gateway or a ListenerSet binds a route to; None where it names neither, or one that weft does not serve."""
    mesh = standing.mesh
    found = _owner(mesh, parent)
    if found is None:
        return None
    owner, gateway, refused = found
    if refused is not None:
        return Bound(refused=Verdict("NoMatchingParent", refused.message))
    places = [item for item in standing.listeners(gateway) if item.owner is owner]
    judged = [(place, _binding_problem(mesh, place, route, parent)) for place in places]
    selected = tuple(place for place, problem in judged if problem is None or problem[0] == _CONFLICTED)
    bindings = tuple(Binding(place, common_hosts(place.listener, route)) for place, problem in judged if not problem)
    problems = [problem for _, problem in judged if problem is not None]
    if bindings:
        return Bound(bindings, selected=selected)
    if not problems:
        return Bound(refused=Verdict("NoMatchingParent", f"{owner.meta.id} has no listener"))
    # The listener that the route came nearest to says best why it does not attach.
    nearest = max(stage for stage, _ in problems)
    reasons = [verdict for stage, verdict in problems if stage == nearest]
    message = "; ".join(dict.fromkeys(verdict.message for verdict in reasons))
    return Bound(refused=Verdict(reasons[0].reason, message), selected=selected)


def _owner(mesh: Mesh, parent: ParentRef) -> tuple[ApiGateway | ListenerSet, ApiGateway, Verdict | None] | None:
    """What a parentRef names, the Gateway it is part of, and why that Gateway does not take it."""
    target = parent.target
    place = (target.namespace, target.name)
    match (target.group, target.kind):
        case (str(group), "Gateway") if group == GATEWAY_API:
            gateway = mesh.api_gateways.get(place)
            return (gateway, gateway, None) if gateway is not None and mesh.serves(gateway) else None
        case (str(group), "ListenerSet") if group == GATEWAY_API:
            listener_set = mesh.listener_sets_by_place.get(place)
            gateway = parent_gateway(mesh, listener_set) if listener_set else None
            if listener_set is None or gateway is None:
                return None
            return listener_set, gateway, set_problem(mesh, listener_set, gateway)
    return None


def served_gateway(mesh: Mesh, parent: ParentRef) -> ApiGateway | None:
    """The Gateway that a parentRef leads to, directly or by a ListenerSet; None where that is not one that weft serves."""
    found = _owner(mesh, parent)
    return found[1] if found else None


def parent_gateway(mesh: Mesh, listener_set: ListenerSet) -> ApiGateway | None:
    """The Gateway that a ListenerSet asks for, where it is in the tree and weft serves it."""
    gateway = mesh.api_gateways.get((listener_set.parent.namespace, listener_set.parent.name))
    return gateway if gateway and names(listener_set, gateway) and mesh.serves(gateway) else None


def _binding_problem(
    mesh: Mesh, place: PlacedListener, route: Attachable, parent: ParentRef
) -> tuple[int, Verdict] | None:
    """Why a route does not bind to a listener, and how near it came."""
    listener, kind = place.listener, route.meta.id.kind
    if parent.section and parent.section != listener.name:
        return 0, Verdict("NoMatchingParent", f"listener {listener.name} is not {parent.section}")
    if parent.port and parent.port != listener.port:
        return 1, Verdict("NoMatchingParent", f"listener {listener.name} has port {listener.port}, not {parent.port}")
    if kind not in place.kinds:
        return 2, Verdict("NotAllowedByListeners", f"listener {listener.name} does not take {kind}s")
    if not namespace_allowed(mesh, listener.allowed, place.owner.meta.namespace, route.meta.namespace):
        message = f"listener {listener.name} does not take routes from namespace {route.meta.namespace}"
        return 3, Verdict("NotAllowedByListeners", message)
    if not common_hosts(listener, route):
        message = f"no hostname in common with listener {listener.name} ({listener.hostname})"
        return 4, Verdict("NoMatchingListenerHostname", message)
    if place.conflict is not None:
        message = f"listener {listener.name} is refused: {place.conflict.message}"
        return _CONFLICTED, Verdict("NoMatchingParent", message)
    return None


def standing_listeners(mesh: Mesh, gateway: ApiGateway) -> tuple[list[PlacedListener], list[Refused]]:
    """The listeners of a Gateway and its ListenerSets that link serves, and the others. Of listeners that cannot be told apart none stands."""
    standing: list[PlacedListener] = []
    refused: list[Refused] = []
    for place in placed_listeners(mesh, gateway):
        reason = place.problem.message if place.problem else _not_carried(place.listener)
        if reason:
            refused.append(Refused(place, reason))
        else:
            standing.append(place)
    return standing, refused


def _not_carried(listener: ApiListener) -> str:
    return "" if listener.protocol in CARRIED_PROTOCOLS else f"protocol {listener.protocol} is not carried yet"


def attachments(mesh: Mesh, place: PlacedListener) -> list[Attached]:
    """The HTTPRoutes and GRPCRoutes on one listener, in order."""
    found = _on_listener(mesh, place, mesh.http_routes)
    return [Attached(route, common_hosts(place.listener, route)) for route in found]


def connections(mesh: Mesh, place: PlacedListener) -> list[tuple[ConnectionRoute, tuple[str, ...]]]:
    """The TLSRoutes, TCPRoutes and UDPRoutes on one listener, in order, with the hosts that both have in common."""
    found = _on_listener(mesh, place, mesh.connection_routes)
    return [(route, common_hosts(place.listener, route)) for route in found]


def _on_listener(mesh: Mesh, place: PlacedListener, routes: Iterable[_R]) -> list[_R]:
    return [
        route
        for route in routes
        if any(
            refers_to(parent, place.owner) and _binding_problem(mesh, place, route, parent) is None
            for parent in route.parents
        )
    ]


def refers_to(parent: ParentRef, owner: ApiGateway | ListenerSet) -> bool:
    """Whether a parentRef names this Gateway or ListenerSet."""
    target = parent.target
    kind = "Gateway" if isinstance(owner, ApiGateway) else "ListenerSet"
    return (target.group, target.kind, target.namespace, target.name) == (
        GATEWAY_API,
        kind,
        owner.meta.namespace,
        owner.meta.name,
    )


def common_hosts(listener: ApiListener, route: Attachable) -> tuple[str, ...]:
    """The hosts on which a route serves a listener; ``*`` is every host."""
    if route.meta.id.kind not in HOSTED_KINDS or listener.protocol in ("TCP", "UDP"):
        return ("*",)
    own = listener.hostname or "*"
    shared = (overlap(own, host) for host in route.hostnames or ("*",))
    return tuple(dict.fromkeys(host for host in shared if host is not None))
