"""The admin pages of a worker: the running sections, each with where it stands in the mesh repository, and the clusters' live state."""

from __future__ import annotations

import msgspec

from runtime.generation import Generation
from snapshot.encode import decode
from snapshot.index import ProvenanceRow


def config_page(generation: Generation) -> dict[str, object]:
    """The slice that runs: its digests, and every section with the position of its source."""
    prepared = generation.prepared
    sections = []
    for (kind, name), section in sorted(prepared.sections.items()):
        source = getattr(section, "source", None)
        position = prepared.position(source) if source is not None else None
        sections.append(
            {
                "kind": kind,
                "name": name,
                "digest": prepared.digests[kind, name],
                "position": str(position) if position is not None else None,
                "positions": positions(prepared.provenance.get((kind, name))),
                "section": msgspec.to_builtins(section),
            }
        )
    return {"snapshot": prepared.snapshot, "behaviour": prepared.behaviour, "sections": sections}


def positions(table: bytes | None) -> dict[str, str]:
    """Where each source that a section names stands: its rules, routes and policies, by SourceRef."""
    if table is None:
        return {}
    return {str(row.source): str(row.position) for row in decode(table, tuple[ProvenanceRow, ...])}


def clusters_page(generation: Generation) -> list[dict[str, object]]:
    """Every cluster with its endpoints now, and how many requests each has in flight."""
    page: list[dict[str, object]] = []
    for name, cluster in sorted(generation.clusters.items()):
        section = cluster.section
        page.append(
            {
                "name": name,
                "protocol": section.protocol,
                "balance": section.balance,
                "tls": type(section.tls).__name__ if section.tls is not None else None,
                "endpoints": [
                    {**msgspec.to_builtins(endpoint), "active": cluster.active(endpoint)}
                    for endpoint in cluster.endpoints
                ],
            }
        )
    return page
