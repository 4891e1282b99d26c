"""Services that reach one target port of a workload by different ports."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.kubernetes import Port, Service


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0137 at the workload, once per target port."""
    services: dict[str, list[Service]] = {}
    for service in mesh.services:
        if isinstance(service.origin, Service) and service.origin.selector:
            services.setdefault(service.namespace, []).append(service.origin)
    for pod in mesh.pods:
        if pod.is_pod:
            continue
        targets: dict[str, dict[int, Port]] = {}
        for origin in services.get(pod.meta.namespace, ()):
            for port in origin.ports if pod.has_labels(origin.selector) else ():
                targets.setdefault(port.target_name or str(port.target), {})[port.number] = port
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
