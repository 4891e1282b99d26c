"""TCP ports of ServiceEntries without addresses: nothing but the port tells their traffic from any other."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0134 at the port, unless addresses are allocated: for all sidecars (which is so where they answer DNS and nothing else is said), or
    already in the entry's status."""
    proxies = mesh.config.proxies
    if proxies.captures_dns and proxies.allocates is not False:
        return
    for item in mesh.written("ServiceEntry"):
        status = item.root.at("status")
        if item.spec.texts("addresses") or (status and status.each("addresses")):
            continue
        for port in item.spec.each("ports"):
            if port.text("protocol") in ("", "TCP"):
                message = f"port {port.number('number')} is TCP, and the entry has no addresses to tell its traffic by"
                yield diagnostic("IST0134", message, port.span, resource=item.meta.id)
