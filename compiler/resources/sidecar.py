"""Sidecar: which hosts the proxies of a namespace know."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Labels, Positions
from compiler.resources.meta import Meta, open_document
from policies.source import SourceRef

ANY_NAMESPACE = "*"


class EgressHost(msgspec.Struct, frozen=True):
    """A host or pattern of a namespace (``*`` any, ``.`` the proxy's own); what is ``excluded`` stays unknown whatever else names it."""

    namespace: str
    host: str
    excluded: bool = False


class Sidecar(msgspec.Struct, frozen=True):
    """A Sidecar. ``selector`` None is none written; ``egress`` None leaves every host known; ``outbound`` "" leaves the mesh's mode.

    ``outbound_source`` names the part that writes the mode.
    """

    meta: Meta
    selector: Labels | None
    egress: tuple[EgressHost, ...] | None
    outbound: str = ""
    outbound_source: SourceRef | None = None


def read_sidecar(document: Document, positions: Positions) -> Sidecar:
    """A Sidecar document. The hosts of all its listeners count together; a policy that names no mode is REGISTRY_ONLY (Istio)."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    assert spec is not None
    selector, outbound = spec.at("workloadSelector"), spec.at("outboundTrafficPolicy")
    listeners = spec.each("egress")
    hosts = tuple(_egress_host(host) for listener in listeners for host in listener.texts("hosts"))
    return Sidecar(
        meta=meta,
        selector=selector.labels("labels") if selector else None,
        egress=hosts if listeners else None,
        outbound=outbound.text("mode", "REGISTRY_ONLY") if outbound else "",
        outbound_source=outbound.source() if outbound else None,
    )


def _egress_host(text: str) -> EgressHost:
    """``namespace/host``; ``~namespace/host`` excludes what it names, and ``~/host`` excludes it in every namespace."""
    namespace, _, host = text.partition("/")
    named = namespace.removeprefix("~")
    return EgressHost(named or ANY_NAMESPACE, host.lower().rstrip("."), excluded=named != namespace)
