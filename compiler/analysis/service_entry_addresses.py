"""TCP ports of ServiceEntries without addresses: nothing but the port tells their traffic from any other."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor

CAPTURE, ALLOCATE = "ISTIO_META_DNS_CAPTURE", "ISTIO_META_DNS_AUTO_ALLOCATE"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0134 at the port, unless addresses are allocated: by the mesh's settings, or already in the entry's status."""
    if any(_allocates(item.root.at("spec") or item.root) for item in mesh.written("MeshConfig")):
        return
    for item in mesh.written("ServiceEntry"):
        status = item.root.at("status")
        if item.spec.texts("addresses") or (status and status.each("addresses")):
            continue
        for port in item.spec.each("ports"):
            if port.text("protocol") in ("", "TCP"):
                message = f"port {port.number('number')} is TCP, and the entry has no addresses to tell its traffic by"
                yield diagnostic("IST0134", message, port.span, resource=item.meta.id)


def _allocates(config: Cursor) -> bool:
    defaults = config.at("defaultConfig")
    metadata = defaults.at("proxyMetadata") if defaults else None
    return metadata is not None and metadata.text(CAPTURE) == metadata.text(ALLOCATE) == "true"
