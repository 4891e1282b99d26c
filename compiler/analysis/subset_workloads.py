"""Subsets that no workload in Git belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.hosts import full_host
from compiler.mesh import Mesh
from compiler.resources.destination_rule import DestinationRule
from compiler.resources.kubernetes import Service
from compiler.resources.written import WORKLOAD_KINDS

OF_NODES = frozenset(
    {
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.istio.io/subzone",
        "kubernetes.io/hostname",
    }
)
"""Labels that endpoints have from the node that they run on, which Git does not tell."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0173, a warning where Git has some workloads of the service, a note where it has only others': they may be deployed from elsewhere."""
    for rule in mesh.destination_rules:
        yield from _subsets(mesh, rule)


def _subsets(mesh: Mesh, rule: DestinationRule) -> Iterator[Diagnostic]:
    service = mesh.service(full_host(rule.host.value, rule.meta.namespace), rule.meta.namespace)
    if service is None or not isinstance(service.origin, Service):
        return
    workloads = mesh.selected(service.namespace, service.selector)
    severity = Severity.WARNING if workloads else Severity.NOTE
    for subset in rule.subsets if mesh.has_any(*WORKLOAD_KINDS) else ():
        asked = {(key, value) for key, value in subset.labels if not (value and key in OF_NODES)}
        if asked and not any(asked <= set(workload.labels) for workload in workloads):
            labels = ", ".join(f"{key}={value}" for key, value in subset.labels)
            message = f"no workload of {service.host} has the labels of subset `{subset.name}` ({labels})"
            yield diagnostic("IST0173", message, subset.span, resource=rule.meta.id, severity=severity)
