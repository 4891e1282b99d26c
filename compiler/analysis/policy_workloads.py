"""AuthorizationPolicies that select nothing, and the namespaces that they ask for and Git does not have."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.mesh import Mesh
from compiler.resources.cursor import Located
from compiler.resources.written import WORKLOAD_KINDS, Written


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0127 where Git has workloads and none is selected, IST0101 (a warning) where Git has namespaces and none has the name."""
    for item in mesh.written("AuthorizationPolicy"):
        if mesh.has_any(*WORKLOAD_KINDS):
            yield from _selected(mesh, item)
        if mesh.namespaces:
            for rule in item.spec.each("rules"):
                for entry in rule.each("from"):
                    source = entry.at("source")
                    for field in ("namespaces", "notNamespaces") if source else ():
                        assert source is not None
                        yield from _namespaces(mesh, item, source.references(field))


def _selected(mesh: Mesh, item: Written) -> Iterator[Diagnostic]:
    selector = item.spec.at("selector")
    whole_mesh = item.meta.namespace == mesh.config.root_namespace
    targeted = item.spec.each("targetRefs") or item.spec.has("targetRef")
    if targeted or (whole_mesh and selector is None):
        return
    labels = selector.labels("matchLabels") if selector else ()
    if any(pod.has_labels(labels) for pod in mesh.pods_in(item.meta.namespace)):
        return
    where = "the mesh" if whole_mesh else f"`{item.meta.namespace}`"
    wanted = " with the labels " + ", ".join(f"{key}={value}" for key, value in labels) if labels else ""
    span = selector.span if selector else item.meta.span
    yield diagnostic("IST0127", f"Git has no workload in {where}{wanted}", span, resource=item.meta.id)


def _namespaces(mesh: Mesh, item: Written, names: tuple[Located, ...]) -> Iterator[Diagnostic]:
    for name in names:
        if not any(_fits(name.value, known) for known in mesh.namespaces):
            message = f"no namespace in Git is called `{name.value}`"
            yield diagnostic("IST0101", message, name.span, resource=item.meta.id, severity=Severity.WARNING)


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else pattern.lower() == name.lower()
