"""PeerAuthentications of the root namespace with a selector, which Istio ignores (and so does weft)."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0167 at the policy."""
    for policy in mesh.peer_authentications:
        if policy.selector is not None and policy.meta.namespace == mesh.config.root_namespace:
            message = "a selector in the root namespace selects nothing; write the policy in the workload's namespace"
            yield diagnostic("IST0167", message, policy.meta.span, resource=policy.meta.id)
