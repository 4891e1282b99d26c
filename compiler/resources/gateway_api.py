"""Gateway API: classes, gateways and the grants that let references cross namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Positions
from compiler.resources.meta import GATEWAY_API, Meta, open_document
from policies.source import SourceRef

CONTROLLERS = frozenset({"weft.dev/gateway-controller", "istio.io/gateway-controller"})
"""The controllerName values of classes that weft serves."""


class GatewayClass(msgspec.Struct, frozen=True):
    """A class of gateways and who serves it."""

    meta: Meta
    controller: str


class ObjectRef(msgspec.Struct, frozen=True):
    """A reference to an object. ``namespace`` is the referrer's where none is written; ``group`` "" is Kubernetes' core."""

    group: str
    kind: str
    namespace: str
    name: str
    span: Span


class LabelCondition(msgspec.Struct, frozen=True):
    """One ``matchExpressions`` entry."""

    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, labels: dict[str, str]) -> bool:
        """Kubernetes' meaning: NotIn and DoesNotExist hold where the label is absent."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None


class AllowedRoutes(msgspec.Struct, frozen=True):
    """Whose routes (or ListenerSets) may attach: ``Same``, ``All``, ``Selector`` or ``None``, and of which (group, kind)s (none: the protocol's)."""

    scope: str = "Same"
    labels: Labels = ()
    conditions: tuple[LabelCondition, ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()


class ApiListener(msgspec.Struct, frozen=True):
    """One listener of a Gateway. ``hostname`` "" is every host; ``tls_mode`` is Terminate or Passthrough."""

    name: str
    hostname: str
    port: int
    protocol: str
    tls_mode: str
    certificates: tuple[ObjectRef, ...]
    allowed: AllowedRoutes
    source: SourceRef
    span: Span


class ClientValidation(msgspec.Struct, frozen=True):
    """How HTTPS listeners of a port prove their clients; ``port`` 0 is every port that has none of its own."""

    port: int
    mode: str
    authorities: tuple[ObjectRef, ...]


class ApiGateway(msgspec.Struct, frozen=True):
    """A Gateway API Gateway. ``listener_sets`` says whose ListenerSets may add listeners: nobody's where it is not written."""

    meta: Meta
    class_name: str
    listeners: tuple[ApiListener, ...]
    listener_sets: AllowedRoutes = AllowedRoutes("None")
    addresses: tuple[tuple[str, str], ...] = ()
    """Type and value of each address asked for; the value may be empty."""
    parameters: ObjectRef | None = None
    client_certificate: ObjectRef | None = None
    validations: tuple[ClientValidation, ...] = ()


class ListenerSet(msgspec.Struct, frozen=True):
    """Listeners that are added to a Gateway from outside of it."""

    meta: Meta
    parent: ObjectRef
    listeners: tuple[ApiListener, ...]


class ReferenceGrant(msgspec.Struct, frozen=True):
    """Lets (group, kind, namespace) refer to (group, kind, name) in the grant's namespace; an empty name is all."""

    meta: Meta
    origins: tuple[tuple[str, str, str], ...]
    targets: tuple[tuple[str, str, str], ...]


def read_gateway_class(document: Document, positions: Positions) -> GatewayClass:
    """A GatewayClass document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    return GatewayClass(meta, spec.text("controllerName") if spec else "")


def read_api_gateway(document: Document, positions: Positions) -> ApiGateway:
    """A Gateway API Gateway document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    allowed = spec.at("allowedListeners")
    infrastructure = spec.at("infrastructure")
    parameters = infrastructure.at("parametersRef") if infrastructure else None
    tls = spec.at("tls")
    backend, frontend = (tls.at("backend"), tls.at("frontend")) if tls else (None, None)
    certificate = backend.at("clientCertificateRef") if backend else None
    return ApiGateway(
        meta=meta,
        class_name=spec.text("gatewayClassName"),
        listeners=_listeners(spec, meta.namespace),
        listener_sets=_allowed(allowed, "None"),
        addresses=tuple((item.text("type", "IPAddress"), item.text("value")) for item in spec.each("addresses")),
        parameters=object_ref(parameters, meta.namespace, kind="") if parameters else None,
        client_certificate=object_ref(certificate, meta.namespace, kind="Secret") if certificate else None,
        validations=tuple(_validations(frontend, meta.namespace)) if frontend else (),
    )


def read_listener_set(document: Document, positions: Positions) -> ListenerSet:
    """A ListenerSet document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    parent = spec.at("parentRef") or spec.empty("parentRef")
    target = object_ref(parent, meta.namespace, kind="Gateway", group=GATEWAY_API)
    return ListenerSet(meta, target, _listeners(spec, meta.namespace))


def read_reference_grant(document: Document, positions: Positions) -> ReferenceGrant:
    """A ReferenceGrant document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    return ReferenceGrant(
        meta=meta,
        origins=tuple((ref.text("group"), ref.text("kind"), ref.text("namespace")) for ref in spec.each("from")),
        targets=tuple((ref.text("group"), ref.text("kind"), ref.text("name")) for ref in spec.each("to")),
    )


def object_ref(ref: Cursor, namespace: str, *, kind: str, group: str = "") -> ObjectRef:
    """A reference, with the defaults of its place."""
    return ObjectRef(
        group=ref.text("group", group),
        kind=ref.text("kind", kind),
        namespace=ref.text("namespace", namespace),
        name=ref.text("name"),
        span=ref.span,
    )


def _validations(frontend: Cursor, namespace: str) -> Iterator[ClientValidation]:
    default = frontend.at("default")
    for port, owner in [(item.number("port"), item.at("tls")) for item in frontend.each("perPort")] + [(0, default)]:
        validation = owner.at("validation") if owner else None
        # A port's own settings stand in the default's place, even where they ask for nothing.
        if owner is not None:
            authorities = validation.each("caCertificateRefs") if validation else ()
            yield ClientValidation(
                port,
                validation.text("mode", "AllowValidOnly") if validation else "",
                tuple(object_ref(ref, namespace, kind="ConfigMap") for ref in authorities),
            )


def _listeners(spec: Cursor, namespace: str) -> tuple[ApiListener, ...]:
    return tuple(_listener(listener, namespace) for listener in spec.each("listeners"))


def _listener(listener: Cursor, namespace: str) -> ApiListener:
    tls = listener.at("tls")
    return ApiListener(
        name=listener.text("name"),
        hostname=listener.text("hostname").lower(),
        port=listener.number("port"),
        protocol=listener.text("protocol"),
        tls_mode=tls.text("mode", "Terminate") if tls else "Terminate",
        certificates=tuple(object_ref(ref, namespace, kind="Secret") for ref in tls.each("certificateRefs"))
        if tls
        else (),
        allowed=_allowed(listener.at("allowedRoutes")),
        source=listener.source(),
        span=listener.span,
    )


def _allowed(allowed: Cursor | None, default: str = "Same") -> AllowedRoutes:
    if allowed is None:
        return AllowedRoutes(default)
    namespaces = allowed.at("namespaces")
    selector = namespaces.at("selector") if namespaces else None
    scope = namespaces.text("from", default) if namespaces else default
    # A selector that nobody wrote selects nothing; an empty one selects everything.
    return AllowedRoutes(
        scope="None" if scope == "Selector" and selector is None else scope,
        labels=selector.labels("matchLabels") if selector else (),
        conditions=tuple(
            LabelCondition(item.text("key"), item.text("operator"), item.texts("values"))
            for item in (selector.each("matchExpressions") if selector else ())
        ),
        kinds=tuple((kind.text("group", GATEWAY_API), kind.text("kind")) for kind in allowed.each("kinds")),
    )
