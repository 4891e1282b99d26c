"""The status of GatewayClasses, Gateways and ListenerSets."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.api_listeners import PlacedListener, attached_sets, set_problem
from compiler.api_references import Verdict, certificate_problem
from compiler.attachment import Standing, parent_gateway
from compiler.mesh import Mesh
from compiler.resources.gateway_api import ApiGateway, GatewayClass, ListenerSet
from compiler.resources.written import Written
from compiler.status.condition import Condition, ObjectStatus, judged, refused
from compiler.status.listeners import listener_status

Counts = Mapping[tuple[str, str, str, str], int]
"""Routes by listener: kind, namespace and name of its owner, and its own name."""
_ADDRESS_TYPES = frozenset({"IPAddress", "Hostname"})


def class_status(item: GatewayClass, document: Written) -> ObjectStatus:
    """A GatewayClass whose controller is weft."""
    problem = (
        Verdict("InvalidParameters", "weft takes no parameters for a class")
        if document.spec.has("parametersRef")
        else None
    )
    return ObjectStatus(
        item.meta, "GatewayClass", (judged("Accepted", problem, "Accepted", "the class is weft's to serve"),)
    )


def gateway_status(standing: Standing, gateway: ApiGateway, counts: Counts) -> ObjectStatus:
    """A Gateway that weft serves."""
    places = standing.listeners(gateway)
    own = [place for place in places if place.owner is gateway]
    sets = attached_sets(standing.mesh, gateway)
    return ObjectStatus(
        meta=gateway.meta,
        kind="Gateway",
        conditions=tuple(_gateway_conditions(standing, gateway, places)),
        addresses=tuple((kind, value) for kind, value in gateway.addresses if value and kind in _ADDRESS_TYPES),
        attached_sets=len([item for item in sets if _serves(places, item)]) if sets else None,
        listeners=tuple(listener_status(place, counts.get(key(place), 0)) for place in own),
    )


def key(place: PlacedListener) -> tuple[str, str, str, str]:
    """What counts of routes are kept under."""
    owner = place.owner.meta.id
    return owner.kind, owner.namespace, owner.name, place.listener.name


def _gateway_conditions(standing: Standing, gateway: ApiGateway, places: list[PlacedListener]) -> list[Condition]:
    problem = _unaccepted(standing, gateway)
    broken = [place for place in places if place.problem and place.owner is gateway]
    if problem is None and places and all(place.problem for place in places):
        problem = Verdict("ListenersNotValid", f"no listener is valid: {_named(broken)}")
    accepted = judged("Accepted", problem, "Accepted", "the Gateway is accepted")
    if problem is None and broken:
        # A Gateway with conflicted listeners must say so even where it is accepted (GatewaySpec.listeners).
        accepted = Condition("Accepted", True, "ListenersNotValid", f"not all listeners are valid: {_named(broken)}")
    unprogrammed = Verdict("Invalid", "the Gateway is not accepted") if problem else None
    certificate = _client_certificate(standing, gateway)
    found = [
        accepted,
        judged("Programmed", unprogrammed, "Programmed", "its proxies are given its listeners"),
        judged("ResolvedRefs", certificate, "ResolvedRefs", "all references lead somewhere"),
    ]
    if any(validation.mode == "AllowInsecureFallback" for validation in gateway.validations):
        message = "connections without a valid client certificate are let in (AllowInsecureFallback)"
        found.append(Condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", message))
    return found


def _named(places: list[PlacedListener]) -> str:
    return ", ".join(place.listener.name for place in places) or "those of its ListenerSets"


def _unaccepted(standing: Standing, gateway: ApiGateway) -> Verdict | None:
    """What keeps a Gateway from being accepted, apart from its listeners."""
    wrong = [kind for kind, _ in gateway.addresses if kind not in _ADDRESS_TYPES]
    if wrong:
        return Verdict("UnsupportedAddress", f"addresses of type {', '.join(wrong)} are not supported")
    ref = gateway.parameters
    if ref is None:
        return None
    name = f"{ref.kind} {ref.namespace}/{ref.name}"
    # Istio reads a ConfigMap here, which customises what a cluster runs; to weft that is the deployment's matter, not the mesh's.
    if (ref.group, ref.kind) != ("", "ConfigMap"):
        return Verdict("InvalidParameters", f"parametersRef must name a ConfigMap, not {name}")
    missing = standing.complete and ("ConfigMap", ref.namespace, ref.name) not in standing.mesh.authority_holders
    return Verdict("InvalidParameters", f"{name} does not exist") if missing else None


def _client_certificate(standing: Standing, gateway: ApiGateway) -> Verdict | None:
    ref = gateway.client_certificate
    if ref is None:
        return None
    invalid = "InvalidClientCertificateRef"
    return certificate_problem(standing.mesh, gateway.meta, ref, invalid, complete=standing.complete)


def listener_set_status(standing: Standing, item: ListenerSet, counts: Counts) -> ObjectStatus | None:
    """A ListenerSet of a Gateway that weft serves; None where it asks for another's, or for none in the tree."""
    mesh = standing.mesh
    gateway = parent_gateway(mesh, item)
    if gateway is None:
        return None
    problem = set_problem(mesh, item, gateway)
    if problem is not None:
        return _refused_set(item, problem, problem)
    parent = _unaccepted(standing, gateway)
    if parent is not None:
        return _refused_set(
            item, Verdict("ParentNotAccepted", parent.message), Verdict("ParentNotProgrammed", parent.message)
        )
    places = [place for place in standing.listeners(gateway) if place.owner is item]
    invalid = None if _serves(places, item) else Verdict("ListenersNotValid", f"no listener is valid: {_named(places)}")
    return ObjectStatus(
        meta=item.meta,
        kind="ListenerSet",
        conditions=(
            judged("Accepted", invalid, "Accepted", "the ListenerSet is accepted"),
            judged("Programmed", invalid, "Programmed", "its Gateway's proxies are given its listeners"),
        ),
        listeners=tuple(listener_status(place, counts.get(key(place), 0)) for place in places),
    )


def _refused_set(item: ListenerSet, accepted: Verdict, programmed: Verdict) -> ObjectStatus:
    return ObjectStatus(item.meta, "ListenerSet", (refused("Accepted", accepted), refused("Programmed", programmed)))


def _serves(places: list[PlacedListener], item: ListenerSet) -> bool:
    """Whether a ListenerSet has a listener that is valid."""
    return any(place.owner is item and place.problem is None for place in places)


def controller_of(mesh: Mesh, gateway: ApiGateway, default: str) -> str:
    """The controller that signs for a Gateway."""
    known = mesh.classes.get(gateway.class_name)
    return known.controller if known else default
