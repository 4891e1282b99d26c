"""What a host that does not exist was probably meant to be."""

from __future__ import annotations

import itertools

from compiler.mesh import Mesh
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.wording import nearest

_MOST_COMPARED = 50
_MOST_LETTERS = 2


def advice(mesh: Mesh, host: str, namespace: str) -> str:
    """The end of a sentence about an unknown full host: the nearest one of the namespace that it names (else of ``namespace``), or ""."""
    stem = host.removesuffix(f".svc.{CLUSTER_DOMAIN}")
    name, _, owner = stem.partition(".") if stem != host else (host, "", namespace)
    # A file of thousands of unknown hosts must not cost minutes of advice.
    alike = (
        service.name
        for service in mesh.services_in(owner)
        if service.name[:1] == name[:1] and abs(len(service.name) - len(name)) <= _MOST_LETTERS
    )
    meant = nearest(name, list(itertools.islice(alike, _MOST_COMPARED)))
    return f"; did you mean `{meant}`?" if meant else ""
