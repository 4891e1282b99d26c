"""Sidecars that select no workload."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101 at the selector, a warning: the workload may be deployed from elsewhere."""
    for item in mesh.written("Sidecar"):
        selector = item.spec.at("workloadSelector")
        labels = selector.labels("labels") if selector else ()
        if selector is None or not labels:
            continue
        if not any(pod.meta.namespace == item.meta.namespace and pod.has_labels(labels) for pod in mesh.pods):
            wanted = ", ".join(f"{key}={value}" for key, value in labels)
            message = f"no workload of `{item.meta.namespace}` in Git has the labels {wanted}"
            yield diagnostic("IST0101", message, selector.span, resource=item.meta.id, severity=Severity.WARNING)
