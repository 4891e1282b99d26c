"""Gateways of one selector that claim the same host on the same port: which one's settings hold is decided by their order."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import overlap
from compiler.mesh import Mesh
from compiler.resources.gateway import Gateway, Server


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0145 at each server that shares selector, port and a host with a server of another Gateway."""
    placed: dict[tuple[object, int], list[tuple[Gateway, Server]]] = {}
    for gateway in mesh.gateways.values():
        for server in gateway.servers:
            placed.setdefault((gateway.selector, server.number), []).append((gateway, server))
    for rivals in placed.values():
        for gateway, server in rivals:
            if not mesh.is_asked_about(gateway.meta):
                continue
            other = next((item for item in rivals if item[0] is not gateway and _share(server, item[1])), None)
            if other is not None:
                yield diagnostic(
                    "IST0145",
                    f"port {server.number} and a host of this server are also claimed by {other[0].meta.id}",
                    server.span,
                    resource=gateway.meta.id,
                    related=(Related(other[1].span, "the other server"),),
                )


def _share(a: Server, b: Server) -> bool:
    return any(
        mine.namespace == other.namespace and overlap(mine.host, other.host) is not None
        for mine in a.hosts
        for other in b.hosts
    )
