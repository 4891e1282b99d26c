"""Istio's control plane in Git, which would fetch keys from wherever a RequestAuthentication says."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh

VARIABLE = "BLOCKED_CIDRS_IN_JWKS_URIS"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0175 at the Deployment labelled ``app: istiod``, where there are RequestAuthentications."""
    policies = mesh.written("RequestAuthentication")
    for pod in mesh.pods if policies else ():
        if pod.meta.id.kind != "Deployment" or ("app", "istiod") not in pod.meta.labels:
            continue
        variables = [item for container in pod.spec.each("containers") for item in container.each("env")]
        if not any(item.text("name") == VARIABLE and item.text("value") for item in variables):
            message = f"{VARIABLE} is not set, and Git has RequestAuthentications ({len(policies)})"
            yield diagnostic("IST0175", message, pod.meta.span, resource=pod.meta.id)
