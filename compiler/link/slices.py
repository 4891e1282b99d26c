"""Link: the mesh becomes one slice per proxy."""

from __future__ import annotations

from compiler.link.draft import LinkedSlice
from compiler.link.sidecars import OutboundParts, Views, sidecar
from compiler.mesh import Mesh


def link(mesh: Mesh) -> list[LinkedSlice]:
    """Every slice of a mesh, sorted by name. What does not resolve has become an explicit 5xx; analysis has said so."""
    views: Views = {}
    parts = OutboundParts(mesh, views)
    slices = [sidecar(mesh, workload, parts) for workload in mesh.workloads]
    return sorted(slices, key=lambda item: item.shape.name)
