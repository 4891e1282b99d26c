"""Gateway API: classes, gateways and the grants that let references cross namespaces."""

from __future__ import annotations

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
    """Whose routes may attach: ``Same``, ``All`` or ``Selector`` namespaces, and of which kinds (none written: the protocol's)."""

    scope: str = "Same"
    labels: Labels = ()
    conditions: tuple[LabelCondition, ...] = ()
    kinds: tuple[str, ...] = ()


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


class ApiGateway(msgspec.Struct, frozen=True):
    """A Gateway API Gateway."""

    meta: Meta
    class_name: str
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
    listeners = tuple(_listener(listener, meta.namespace) for listener in spec.each("listeners"))
    return ApiGateway(meta, spec.text("gatewayClassName"), listeners)


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


def _allowed(allowed: Cursor | None) -> AllowedRoutes:
    if allowed is None:
        return AllowedRoutes()
    namespaces = allowed.at("namespaces")
    selector = namespaces.at("selector") if namespaces else None
    return AllowedRoutes(
        scope=namespaces.text("from", "Same") if namespaces else "Same",
        labels=selector.labels("matchLabels") if selector else (),
        conditions=tuple(
            LabelCondition(item.text("key"), item.text("operator"), item.texts("values"))
            for item in (selector.each("matchExpressions") if selector else ())
        ),
        kinds=tuple(
            kind.text("kind") for kind in allowed.each("kinds") if kind.text("group", GATEWAY_API) == GATEWAY_API
        ),
    )
