"""The listeners of a Gateway, its own and those that ListenerSets add: which are distinct, which kinds they take, what they lack.

Order is precedence: the Gateway's own listeners, then those of its ListenerSets by their order. Listeners of one owner that cannot be told
apart are all refused, because none of them may win (GatewaySpec.listeners); a later owner's yields to an earlier owner's.
"""

from __future__ import annotations

import msgspec

from compiler.api_references import Verdict, authority_problem, certificate_problem
from compiler.mesh import Mesh
from compiler.resources.gateway_api import AllowedRoutes, ApiGateway, ApiListener, ClientValidation, ListenerSet
from compiler.resources.meta import GATEWAY_API

_WEB = ("HTTPRoute", "GRPCRoute")
_KINDS = {"HTTP": _WEB, "HTTPS": _WEB, "TLS": ("TLSRoute", "TCPRoute"), "TCP": ("TCPRoute",), "UDP": ("UDPRoute",)}
_BY_HOST = frozenset({"HTTP", "HTTPS", "TLS"})
"""Protocols whose listeners are told apart by hostname on one port."""


class PlacedListener(msgspec.Struct, frozen=True):
    """A listener at its place on a Gateway. ``kinds`` are the kinds of route it takes.

    Of the four problems, ``unaccepted`` and ``conflict`` keep it from existing, ``unresolved`` and ``unusable`` from serving: a route
    attaches to a listener that exists, whether or not it can serve.
    """

    gateway: ApiGateway
    owner: ApiGateway | ListenerSet
    listener: ApiListener
    kinds: tuple[str, ...]
    unaccepted: Verdict | None = None
    conflict: Verdict | None = None
    unresolved: Verdict | None = None
    unusable: Verdict | None = None

    @property
    def exists(self) -> bool:
        """Whether routes can attach to it."""
        return self.conflict is None and (self.unaccepted is None or self.unaccepted.reason == "NoValidCACertificate")

    @property
    def problem(self) -> Verdict | None:
        """Why it does not serve, or None."""
        return self.conflict or self.unaccepted or self.unusable


def placed_listeners(mesh: Mesh, gateway: ApiGateway, *, complete: bool = False) -> list[PlacedListener]:
    """All listeners of a Gateway, in order of precedence. ``complete`` is as for references."""
    found: list[PlacedListener] = []
    owners: list[ApiGateway | ListenerSet] = [gateway, *attached_sets(mesh, gateway)]
    for owner in owners:
        earlier = [
            item.listener for item in found if item.conflict is None and _protocol_problem(item.listener) is None
        ]
        # What yields to an earlier owner, or speaks what nobody understands, is no rival of what stands beside it.
        left = [
            listener
            for listener in owner.listeners
            if _protocol_problem(listener) is None and _conflict(listener, earlier) is None
        ]
        for listener in owner.listeners:
            rivals = earlier + [other for other in left if other is not listener]
            found.append(_placed(mesh, gateway, owner, listener, rivals, complete=complete))
    return found


def attached_sets(mesh: Mesh, gateway: ApiGateway) -> list[ListenerSet]:
    """The ListenerSets that a Gateway lets add listeners, in order of precedence."""
    return [item for item in mesh.listener_sets if names(item, gateway) and set_problem(mesh, item, gateway) is None]


def names(listener_set: ListenerSet, gateway: ApiGateway) -> bool:
    """Whether a ListenerSet asks for this Gateway."""
    parent = listener_set.parent
    return (parent.group, parent.kind, parent.namespace, parent.name) == (
        GATEWAY_API,
        "Gateway",
        gateway.meta.namespace,
        gateway.meta.name,
    )


def set_problem(mesh: Mesh, listener_set: ListenerSet, gateway: ApiGateway) -> Verdict | None:
    """Why a Gateway does not let a ListenerSet add listeners."""
    namespace = listener_set.meta.namespace
    if namespace_allowed(mesh, gateway.listener_sets, gateway.meta.namespace, namespace):
        return None
    gateway_name = f"{gateway.meta.namespace}/{gateway.meta.name}"
    return Verdict("NotAllowed", f"allowedListeners of Gateway {gateway_name} does not take namespace {namespace}")


def namespace_allowed(mesh: Mesh, allowed: AllowedRoutes, own: str, namespace: str) -> bool:
    """Whether what a namespace holds may attach to what is in the namespace ``own``."""
    match allowed.scope:
        case "All":
            return True
        case "Same":
            return namespace == own
        case "Selector":
            # Kubernetes puts this label on every namespace.
            labels = {**dict(mesh.namespaces.get(namespace, ())), "kubernetes.io/metadata.name": namespace}
            return set(allowed.labels) <= set(labels.items()) and all(
                condition.holds(labels) for condition in allowed.conditions
            )
        case _:
            return False


def _placed(
    mesh: Mesh,
    gateway: ApiGateway,
    owner: ApiGateway | ListenerSet,
    listener: ApiListener,
    rivals: list[ApiListener],
    *,
    complete: bool,
) -> PlacedListener:
    kinds, invalid = route_kinds(listener)
    authorities, refused_authority = _authorities(mesh, gateway, listener, complete=complete)
    certificate = _certificate_problem(mesh, owner, listener, complete=complete)
    unresolved = certificate or refused_authority or invalid
    unaccepted = _protocol_problem(listener) or authorities
    unusable = certificate or authorities or _tls_problem(listener)
    return PlacedListener(
        gateway, owner, listener, kinds, unaccepted, _conflict(listener, rivals), unresolved, unusable
    )


def _protocol_problem(listener: ApiListener) -> Verdict | None:
    if listener.protocol in _KINDS:
        return None
    upper = listener.protocol.upper()
    hint = f"; write it as {upper}" if upper in _KINDS else ""
    return Verdict("UnsupportedProtocol", f"protocol {listener.protocol} is not supported{hint}")


def route_kinds(listener: ApiListener) -> tuple[tuple[str, ...], Verdict | None]:
    """The kinds a listener takes, and what is wrong with those that its document names."""
    possible = _KINDS.get(listener.protocol, ())
    if (listener.protocol, listener.tls_mode) == ("TLS", "Passthrough"):
        possible = ("TLSRoute",)
    wanted = listener.allowed.kinds
    if not wanted or not possible:
        return possible, None
    wrong = [kind for group, kind in wanted if group != GATEWAY_API or kind not in possible]
    named = {kind for group, kind in wanted if group == GATEWAY_API}
    kinds = tuple(kind for kind in possible if kind in named)
    if not wrong:
        return kinds, None
    message = f"a {listener.protocol} listener does not take {', '.join(wrong)}; it takes {', '.join(possible)}"
    return kinds, Verdict("InvalidRouteKinds", message)


def _conflict(listener: ApiListener, rivals: list[ApiListener]) -> Verdict | None:
    if listener.protocol not in _KINDS:
        return None
    for other in rivals:
        if other.port != listener.port or (listener.protocol == "UDP") != (other.protocol == "UDP"):
            continue
        if _family(other) != _family(listener):
            message = f"port {other.port} already speaks {other.protocol} (listener {other.name})"
            return Verdict("ProtocolConflict", message)
        if listener.protocol not in _BY_HOST:
            message = f"listener {other.name} already has port {other.port}"
            return Verdict("ProtocolConflict", message)
        if other.hostname == listener.hostname:
            shown = listener.hostname or "*"
            return Verdict(
                "HostnameConflict", f"listener {other.name} already has port {other.port} and hostname {shown}"
            )
    return None


def _family(listener: ApiListener) -> str:
    """HTTPS and TLS listeners share a port, told apart by the server name."""
    return "TLS" if listener.protocol == "HTTPS" else listener.protocol


def _certificate_problem(
    mesh: Mesh, owner: ApiGateway | ListenerSet, listener: ApiListener, *, complete: bool
) -> Verdict | None:
    if not _terminates(listener):
        return None
    problems = (certificate_problem(mesh, owner.meta, ref, complete=complete) for ref in listener.certificates)
    return next((problem for problem in problems if problem is not None), None)


def _tls_problem(listener: ApiListener) -> Verdict | None:
    if listener.protocol == "HTTPS" and listener.tls_mode != "Terminate":
        return Verdict("Invalid", f"an HTTPS listener cannot have TLS mode {listener.tls_mode}")
    if _terminates(listener) and not listener.certificates:
        return Verdict("Invalid", f"a {listener.protocol} listener that terminates needs certificateRefs")
    return None


def _terminates(listener: ApiListener) -> bool:
    return listener.protocol in ("HTTPS", "TLS") and listener.tls_mode == "Terminate"


def _authorities(
    mesh: Mesh, gateway: ApiGateway, listener: ApiListener, *, complete: bool
) -> tuple[Verdict | None, Verdict | None]:
    """Why clients of an HTTPS listener cannot be proved at all, and what is wrong with a reference."""
    validation = validation_of(gateway, listener)
    if validation is None or not validation.authorities:
        return None, None
    found = [authority_problem(mesh, gateway.meta, ref, complete=complete) for ref in validation.authorities]
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return None, None
    none_left = len(problems) == len(found)
    return Verdict("NoValidCACertificate", problems[0].message) if none_left else None, problems[0]


def validation_of(gateway: ApiGateway, listener: ApiListener) -> ClientValidation | None:
    """How an HTTPS listener proves its clients: its port's settings, or the default ones; None where nothing is asked."""
    if listener.protocol != "HTTPS":
        return None
    by_port = {item.port: item for item in reversed(gateway.validations)}
    return by_port.get(listener.port, by_port.get(0))
