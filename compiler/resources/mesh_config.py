"""MeshConfig: what holds for the whole mesh."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Positions
from compiler.resources.meta import Meta, open_document

CLUSTER_DOMAIN = "cluster.local"
"""The DNS domain of service names; short names are completed with it."""


class MeshConfig(msgspec.Struct, frozen=True):
    """Istio's MeshConfig with Istio's defaults. ``outbound`` is ALLOW_ANY or REGISTRY_ONLY."""

    meta: Meta | None = None
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    outbound: str = "ALLOW_ANY"
    access_log_file: str = ""
    access_log_encoding: str = "TEXT"
    root_namespace: str = "istio-system"


def read_mesh_config(document: Document, positions: Positions) -> MeshConfig:
    """A MeshConfig document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec") or root
    outbound = spec.at("outboundTrafficPolicy")
    defaults = MeshConfig()
    return MeshConfig(
        meta=meta,
        trust_domain=spec.text("trustDomain") or defaults.trust_domain,
        trust_domain_aliases=spec.texts("trustDomainAliases"),
        outbound=outbound.text("mode", defaults.outbound) if outbound else defaults.outbound,
        access_log_file=spec.text("accessLogFile"),
        access_log_encoding=spec.text("accessLogEncoding") or defaults.access_log_encoding,
        root_namespace=spec.text("rootNamespace") or defaults.root_namespace,
    )
