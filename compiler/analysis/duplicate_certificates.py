"""Gateways of the same workloads that serve with one certificate."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.written import Written


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0138 at each server whose certificate a Gateway with at least the same selector uses too."""
    users: dict[object, list[tuple[Written, Cursor]]] = {}
    for item in mesh.written("Gateway"):
        for server in item.spec.each("servers"):
            tls = server.at("tls")
            identity = _identity(tls) if tls else None
            if identity is not None and tls is not None:
                users.setdefault(identity, []).append((item, tls))
    for shared in users.values():
        for item, tls in shared if len(shared) > 1 else ():
            if not mesh.is_asked_about(item.meta):
                continue
            own = set(item.spec.labels("selector"))
            for other, place in shared:
                if other is not item and own <= set(other.spec.labels("selector")):
                    message = f"{other.meta.id} serves the same workloads with the same certificate"
                    related = (Related(place.span, "the other server"),)
                    yield diagnostic("IST0138", message, tls.span, resource=item.meta.id, related=related)


def _identity(tls: Cursor) -> tuple[str, ...] | None:
    if tls.text("credentialName"):
        return (tls.text("credentialName"),)
    files = (tls.text("serverCertificate"), tls.text("privateKey"))
    return files if all(files) else None
