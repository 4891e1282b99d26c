"""MeshNetworks whose endpoints come from a registry that nothing makes known."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.written import Written

CLUSTER_LABEL = ("istio/multiCluster", "true")
KUBERNETES = "Kubernetes"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0126 at the registry's name; known are Kubernetes itself and the clusters of the remote secrets in Git."""
    known = {KUBERNETES}
    for secret in mesh.written("Secret"):
        if CLUSTER_LABEL in secret.meta.labels:
            for field in ("data", "stringData"):
                data = secret.root.at(field)
                known |= set(data.node.entries) if data else set()
    for item in mesh.written("MeshNetworks"):
        networks = item.spec.entries("networks") or item.root.entries("networks")
        for name, network in networks:
            for endpoint in network.each("endpoints"):
                yield from _endpoint(item, name, endpoint, known)


def _endpoint(item: Written, network: str, endpoint: Cursor, known: set[str]) -> Iterator[Diagnostic]:
    registry = endpoint.located("fromRegistry")
    if registry is not None and registry.value not in known:
        message = f"network `{network}` takes endpoints from the registry `{registry.value}`; known are {', '.join(sorted(known))}"
        yield diagnostic("IST0126", message, registry.span, resource=item.meta.id)
