"""Services that reach one target port of a workload by different ports."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injection import in_mesh
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor, Labels
from compiler.resources.written import PodTemplate, Written


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0137 at the workload, once per target port."""
    services = selecting(mesh)
    for pod in mesh.pods:
        behind = [item for selector, item in services.get(pod.meta.namespace, ()) if pod.has_labels(selector)]
        if behind and not pod.is_pod and in_mesh(mesh, pod):
            yield from _targets(pod, behind)


def selecting(mesh: Mesh) -> dict[str, list[tuple[Labels, Written]]]:
    """The Services that select workloads, by namespace, with what they ask for."""
    services: dict[str, list[tuple[Labels, Written]]] = {}
    for item in mesh.written("Service"):
        if selector := item.spec.labels("selector"):
            services.setdefault(item.meta.namespace, []).append((selector, item))
    return services


def _targets(pod: PodTemplate, services: list[Written]) -> Iterator[Diagnostic]:
    targets: dict[str, dict[int, Cursor]] = {}
    for service in services:
        for port in service.spec.each("ports"):
            number = port.number("port")
            target = port.text("targetPort") or str(port.number("targetPort") or number)
            targets.setdefault(target, {})[number] = port
    for target, ports in targets.items():
        if len(ports) > 1:
            shown = ", ".join(str(number) for number in sorted(ports))
            yield diagnostic(
                "IST0137",
                f"services reach target port {target} by the ports {shown}",
                pod.meta.span,
                resource=pod.meta.id,
                related=tuple(Related(port.span, f"port {number}") for number, port in sorted(ports.items())),
            )
