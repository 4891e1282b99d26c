"""What routes of all Gateway API kinds have in common: where they attach, for which hostnames, and what they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from compiler.resources.cursor import Cursor, Labels
from compiler.resources.gateway_api import ObjectRef, object_ref
from compiler.resources.meta import GATEWAY_API, Meta

ROUTE_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")


class ParentRef(msgspec.Struct, frozen=True):
    """Where a route wants to attach: a Gateway's or ListenerSet's listeners (by ``section`` and ``port`` where given) or a Service.

    ``written`` are the fields as the document has them, in its order: a status names its parent in the same words.
    """

    target: ObjectRef
    section: str
    port: int
    written: Labels = ()


class Attachable(Protocol):
    """A route of any kind, as far as attachment asks; ``meta.id.kind`` is its kind. TCP and UDP routes have no hostnames."""

    @property
    def meta(self) -> Meta:
        """The route's metadata."""

    @property
    def parents(self) -> tuple[ParentRef, ...]:
        """Where it wants to attach."""

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Lower-case hostnames; none means the listener's."""


class RouteBackend(msgspec.Struct, frozen=True):
    """What a route refers to: a backend, or what a filter mirrors to. ``port`` is 0 where none is written."""

    target: ObjectRef
    port: int


class ApiRoute(msgspec.Struct, frozen=True):
    """A route of any kind, without its rules: their number, and what those ask for that nobody could carry out."""

    meta: Meta
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    backends: tuple[RouteBackend, ...]
    rules: int = 0
    unsupported: tuple[str, ...] = ()
    """A sentence for each rule that is answered with a failure because of what it asks for."""


def read_parents(spec: Cursor, namespace: str) -> tuple[ParentRef, ...]:
    """``spec.parentRefs`` of a route in a namespace."""
    return tuple(
        ParentRef(
            object_ref(parent, namespace, kind="Gateway", group=GATEWAY_API),
            parent.text("sectionName"),
            parent.number("port"),
            tuple(
                (key, parent.text(key))
                for key in ("group", "kind", "namespace", "name", "sectionName", "port")
                if parent.has(key)
            ),
        )
        for parent in spec.each("parentRefs")
    )


def read_api_route(meta: Meta, spec: Cursor) -> ApiRoute:
    """The common part of a route document, whatever its kind."""
    hostnames = tuple(dict.fromkeys(host.lower() for host in spec.texts("hostnames")))
    rules = spec.each("rules")
    return ApiRoute(
        meta=meta,
        parents=read_parents(spec, meta.namespace),
        hostnames=hostnames,
        backends=tuple(_backends(spec, meta.namespace)),
        rules=len(rules),
        unsupported=tuple(reason for rule in rules if (reason := _extension(rule))),
    )


def _extension(rule: Cursor) -> str:
    """What a rule extends routes with: a filter of a kind that Gateway API does not define, of which weft has none."""
    owners = (rule, *rule.each("backendRefs"))
    references = (item.at("extensionRef") for owner in owners for item in owner.each("filters"))
    wanted = next((reference for reference in references if reference is not None), None)
    if wanted is None:
        return ""
    return f"{rule.path} extends the route by {wanted.text('kind')} {wanted.text('name')}, which weft does not know"


def _backends(spec: Cursor, namespace: str) -> Iterator[RouteBackend]:
    for rule in spec.each("rules"):
        for backend in rule.each("backendRefs"):
            yield _backend(backend, namespace)
            yield from _mirrors(backend, namespace)
        yield from _mirrors(rule, namespace)


def _mirrors(owner: Cursor, namespace: str) -> Iterator[RouteBackend]:
    for item in owner.each("filters"):
        mirror = item.at("requestMirror")
        backend = mirror.at("backendRef") if mirror else None
        if backend is not None:
            yield _backend(backend, namespace)


def _backend(backend: Cursor, namespace: str) -> RouteBackend:
    return RouteBackend(object_ref(backend, namespace, kind="Service"), backend.number("port"))
