"""Which Gateway API listeners stand, and which routes attach to them. A reason explains each refusal; "" means accepted."""

from __future__ import annotations

import msgspec

from compiler.hosts import overlap
from compiler.mesh import Mesh
from compiler.resources.gateway_api import ApiGateway, ApiListener, ObjectRef
from compiler.resources.http_route import HttpRoute, ParentRef
from compiler.resources.kubernetes import Port
from compiler.resources.meta import GATEWAY_API

ROUTE_PROTOCOLS = frozenset({"HTTP", "HTTPS"})


class Refused(msgspec.Struct, frozen=True):
    """A listener that does not stand, and why."""

    listener: ApiListener
    reason: str


class Attached(msgspec.Struct, frozen=True):
    """A route on a listener, with the hosts that both have in common."""

    route: HttpRoute
    hosts: tuple[str, ...]


def standing_listeners(mesh: Mesh, gateway: ApiGateway) -> tuple[list[ApiListener], list[Refused]]:
    """The listeners that can be served, and the others. Of two with the same port, protocol and hostname the first stands."""
    standing: list[ApiListener] = []
    refused: list[Refused] = []
    for listener in gateway.listeners:
        reason = _listener_problem(mesh, gateway, listener, standing)
        if reason:
            refused.append(Refused(listener, reason))
        else:
            standing.append(listener)
    return standing, refused


def _listener_problem(mesh: Mesh, gateway: ApiGateway, listener: ApiListener, standing: list[ApiListener]) -> str:
    if listener.protocol not in ROUTE_PROTOCOLS:
        return f"protocol {listener.protocol} is not carried yet"
    for other in standing:
        if other.port == listener.port and other.protocol != listener.protocol:
            return f"port {listener.port} already speaks {other.protocol} (listener {other.name})"
        if other.port == listener.port and other.hostname == listener.hostname:
            return f"listener {other.name} already has port {listener.port} and hostname {listener.hostname or '*'}"
    if listener.protocol == "HTTP":
        return ""
    if listener.tls_mode != "Terminate":
        return "TLS passthrough is not carried yet"
    if not listener.certificates:
        return "an HTTPS listener needs certificateRefs"
    return next((reason for ref in listener.certificates if (reason := certificate_problem(mesh, gateway, ref))), "")


def certificate_problem(mesh: Mesh, gateway: ApiGateway, ref: ObjectRef) -> str:
    """Why a listener's certificate must not be used; the secret itself may live outside of Git."""
    if (ref.group, ref.kind) != ("", "Secret"):
        return f"certificateRefs must name a Secret, not {ref.kind}"
    if not mesh.granted("Gateway", gateway.meta.namespace, ref):
        return f"no ReferenceGrant lets Gateways of {gateway.meta.namespace} use Secret {ref.namespace}/{ref.name}"
    return ""


def attachments(mesh: Mesh, gateway: ApiGateway, listener: ApiListener) -> list[Attached]:
    """The routes on one listener, in order."""
    found = []
    for route in mesh.http_routes:
        for parent in route.parents:
            if refers_to(parent, gateway) and not attachment_problem(mesh, gateway, listener, route, parent):
                found.append(Attached(route, common_hosts(listener, route)))
                break
    return found


def refers_to(parent: ParentRef, gateway: ApiGateway) -> bool:
    """Whether a parentRef names this Gateway."""
    target = parent.target
    return (target.group, target.kind) == (GATEWAY_API, "Gateway") and (target.namespace, target.name) == (
        gateway.meta.namespace,
        gateway.meta.name,
    )


def attachment_problem(
    mesh: Mesh, gateway: ApiGateway, listener: ApiListener, route: HttpRoute, parent: ParentRef
) -> str:
    """Why a route does not attach to a listener of the Gateway that a parentRef names."""
    if parent.section and parent.section != listener.name:
        return f"sectionName is {parent.section}"
    if parent.port and parent.port != listener.port:
        return f"port is {parent.port}"
    if listener.allowed.kinds and "HTTPRoute" not in listener.allowed.kinds:
        return f"listener {listener.name} does not take HTTPRoutes"
    if not _namespace_allowed(mesh, gateway, listener, route.meta.namespace):
        return f"listener {listener.name} does not take routes from namespace {route.meta.namespace}"
    if not common_hosts(listener, route):
        return f"no hostname in common with listener {listener.name} ({listener.hostname})"
    return ""


def _namespace_allowed(mesh: Mesh, gateway: ApiGateway, listener: ApiListener, namespace: str) -> bool:
    match listener.allowed.scope:
        case "All":
            return True
        case "Same":
            return namespace == gateway.meta.namespace
        case "Selector":
            known = mesh.namespaces.get(namespace)
            labels = {"kubernetes.io/metadata.name": namespace, **dict(known.meta.labels if known else ())}
            return set(listener.allowed.labels) <= set(labels.items()) and all(
                condition.holds(labels) for condition in listener.allowed.conditions
            )
        case _:
            return False


def common_hosts(listener: ApiListener, route: HttpRoute) -> tuple[str, ...]:
    """The hosts on which a route serves a listener; ``*`` is every host."""
    own = listener.hostname or "*"
    shared = (overlap(own, host) for host in route.hostnames or ("*",))
    return tuple(dict.fromkeys(host for host in shared if host is not None))


def backend_problem(mesh: Mesh, route: HttpRoute, target: ObjectRef, port: int) -> str:
    """Why a backendRef must not be followed (its share of requests is then answered 500)."""
    if (target.group, target.kind) != ("", "Service"):
        return f"backendRefs must name a Service, not {target.kind}"
    # In the mesh a route may lead to where its own parent Service is: its clients could go there without it (GAMMA's consumer routes).
    beside_parent = any(
        (parent.target.kind, parent.target.namespace) == ("Service", target.namespace) for parent in route.parents
    )
    if not beside_parent and not mesh.granted("HTTPRoute", route.meta.namespace, target):
        return (
            f"no ReferenceGrant lets HTTPRoutes of {route.meta.namespace} use Service {target.namespace}/{target.name}"
        )
    service = mesh.kubernetes_service(target.namespace, target.name)
    if service is None:
        return f"Service {target.namespace}/{target.name} does not exist"
    if not port:
        return f"a backendRef to a Service needs a port; {target.name} has {_ports(service.ports)}"
    if service.port(port) is None:
        return f"Service {target.namespace}/{target.name} has no port {port}; it has {_ports(service.ports)}"
    return ""


def _ports(ports: tuple[Port, ...]) -> str:
    return ", ".join(str(port.number) for port in ports) or "none"
