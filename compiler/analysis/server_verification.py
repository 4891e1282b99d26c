"""DestinationRules that start TLS and do not say whose certificates they trust."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0128 for a host, IST0129 for a port of one, at the tls block."""
    for item in mesh.written("DestinationRule"):
        policy = item.spec.at("trafficPolicy")
        host = item.spec.text("host")
        tls = policy.at("tls") if policy else None
        if tls is not None and _unverified(tls):
            message = f"TLS to `{host}` names no CA that its certificate must come from"
            yield diagnostic("IST0128", message, tls.span, resource=item.meta.id)
        for level in policy.each("portLevelSettings") if policy else ():
            port, tls = level.at("port"), level.at("tls")
            if tls is not None and _unverified(tls):
                number = port.number("number") if port else 0
                message = f"TLS to `{host}` port {number} names no CA that its certificate must come from"
                yield diagnostic("IST0129", message, tls.span, resource=item.meta.id)


def _unverified(tls: Cursor) -> bool:
    return tls.text("mode") in ("SIMPLE", "MUTUAL") and not (tls.text("caCertificates") or tls.text("credentialName"))
