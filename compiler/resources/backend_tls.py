"""BackendTLSPolicy: TLS from gateways to the back ends that it names, and how their certificates are proved."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Positions
from compiler.resources.gateway_api import ObjectRef, object_ref
from compiler.resources.meta import Meta, open_document
from policies.source import SourceRef

SYSTEM = "System"
"""The authorities that the machine knows."""


class BackendTarget(msgspec.Struct, frozen=True):
    """What a policy is for: a Service, or one port of it by name."""

    ref: ObjectRef
    section: str


class BackendTls(msgspec.Struct, frozen=True):
    """A BackendTLSPolicy. ``hostname`` is asked for by SNI; a certificate must bear it, or one of ``names`` where there are any."""

    meta: Meta
    targets: tuple[BackendTarget, ...]
    authorities: tuple[ObjectRef, ...]
    well_known: str
    hostname: str
    names: tuple[str, ...]
    source: SourceRef


def read_backend_tls(document: Document, positions: Positions) -> BackendTls:
    """A BackendTLSPolicy document; its references cannot leave its namespace."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root.empty("spec")
    validation = spec.at("validation") or spec.empty("validation")
    return BackendTls(
        meta=meta,
        targets=tuple(_target(item, meta.namespace) for item in spec.each("targetRefs")),
        authorities=tuple(object_ref(item, meta.namespace, kind="") for item in validation.each("caCertificateRefs")),
        well_known=validation.text("wellKnownCACertificates"),
        hostname=validation.text("hostname"),
        names=tuple(item.text("hostname") or item.text("uri") for item in validation.each("subjectAltNames")),
        source=validation.source(),
    )


def _target(item: Cursor, namespace: str) -> BackendTarget:
    return BackendTarget(object_ref(item, namespace, kind=""), item.text("sectionName"))
