"""PeerAuthentication: which mode holds on a workload's port. Mesh, then namespace, then workload; the oldest wins in each scope."""

from __future__ import annotations

from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.security import PeerAuthentication
from policies.source import SourceRef


def peer_mode(mesh: Mesh, namespace: str, labels: Labels, port: int) -> tuple[str, SourceRef]:
    """The mode on a container port (STRICT, PERMISSIVE or DISABLE) and the resource that says so, else the mesh's default."""
    mode, source = "PERMISSIVE", mesh.source
    scopes = (
        _oldest(mesh, mesh.config.root_namespace, None),
        _oldest(mesh, namespace, None) if namespace != mesh.config.root_namespace else None,
        _oldest(mesh, namespace, labels) if namespace != mesh.config.root_namespace else None,
    )
    for found in scopes:
        if found is not None and found.mode != "UNSET":
            mode, source = found.mode, found.meta.source
    workload = scopes[2]
    if workload is not None:
        level = dict(workload.ports).get(port, "UNSET")
        if level != "UNSET":
            return level, workload.meta.source
    return mode, source


def effective_mode(mesh: Mesh, namespace: str, labels: Labels, port: int) -> str:
    """The mode alone."""
    return peer_mode(mesh, namespace, labels, port)[0]


def ports_apart(mesh: Mesh, namespace: str, labels: Labels) -> tuple[int, ...]:
    """The container ports for which a workload's own policy says a mode of their own, ascending."""
    if namespace == mesh.config.root_namespace:
        return ()
    policy = _oldest(mesh, namespace, labels)
    return tuple(port for port, mode in policy.ports if mode != "UNSET") if policy is not None else ()


def _oldest(mesh: Mesh, namespace: str, labels: Labels | None) -> PeerAuthentication | None:
    """The first policy of a namespace: without a selector where ``labels`` is None, else one whose selector these labels satisfy."""
    for policy in mesh.peer_authentications:
        if policy.meta.namespace != namespace:
            continue
        if labels is None and policy.selector is None:
            return policy
        if labels is not None and policy.selector is not None and set(policy.selector) <= set(labels):
            return policy
    return None
