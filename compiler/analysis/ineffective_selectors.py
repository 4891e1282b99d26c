"""Policies that select the pods of a Gateway API gateway by labels: only targetRefs reach them."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh

GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
POLICIES = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin")


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0166 at the selector, once per pod of a gateway that it selects."""
    pods = [pod for pod in mesh.pods if GATEWAY_LABEL in dict(pod.labels)]
    for kind in POLICIES if pods else ():
        for item in mesh.written(kind):
            selector = item.spec.at("selector")
            if selector is None or item.spec.has("targetRef"):
                continue
            for pod in pods:
                if pod.meta.namespace == item.meta.namespace and pod.has_labels(selector.labels("matchLabels")):
                    message = f"Gateway `{dict(pod.labels)[GATEWAY_LABEL]}` is not reached by labels"
                    yield diagnostic("IST0166", message, selector.span, resource=item.meta.id)
