"""Telemetry resources whose access log goes nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0157 at the entry, where MeshConfig has no default provider for access logs."""
    if any(_has_default(item.root.at("spec") or item.root) for item in mesh.written("MeshConfig")):
        return
    for item in mesh.written("Telemetry"):
        for entry in item.spec.each("accessLogging"):
            if not entry.each("providers"):
                message = "this access log names no provider, and neither does MeshConfig's defaultProviders"
                yield diagnostic("IST0157", message, entry.span, resource=item.meta.id)


def _has_default(config: Cursor) -> bool:
    defaults = config.at("defaultProviders")
    return defaults is not None and bool(defaults.texts("accessLogging"))
