"""What a host that does not exist was probably meant to be."""

from __future__ import annotations

from compiler.mesh import Mesh
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.wording import nearest

_MOST_COMPARED = 1000


def advice(mesh: Mesh, host: str, namespace: str) -> str:
    """The end of a sentence about an unknown full host: the nearest one of the namespace that it names (else of ``namespace``), or ""."""
    stem = host.removesuffix(f".svc.{CLUSTER_DOMAIN}")
    name, _, owner = stem.partition(".") if stem != host else (host, "", namespace)
    known = [service.name for service in mesh.services_in(owner)[:_MOST_COMPARED]]
    meant = nearest(name, known)
    return f"; did you mean `{meant}`?" if meant else ""
