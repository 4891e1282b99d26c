"""Workloads behind several services that disagree on what one port speaks."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injection import in_mesh
from compiler.analysis.target_ports import selecting
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.link.clusters import target_port
from compiler.link.inbound import exposed_ports
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.kubernetes import Port
from compiler.resources.written import PodTemplate, Written


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0116 at the workload, once per port: services give it different transports, or its target port different protocols."""
    services = selecting(mesh)
    for pod in mesh.pods:
        behind = [item for selector, item in services.get(pod.meta.namespace, ()) if pod.has_labels(selector)]
        if len(behind) > 1 and not pod.is_pod and in_mesh(mesh, pod):
            yield from _transports(pod, behind)
    yield from _protocols(mesh)


def _transports(pod: PodTemplate, services: list[Written]) -> Iterator[Diagnostic]:
    ports: dict[int, dict[str, Cursor]] = {}
    for service in services:
        for port in service.spec.each("ports"):
            ports.setdefault(port.number("port"), {}).setdefault(port.text("protocol") or "TCP", port)
    for number, transports in sorted(ports.items()):
        if len(transports) > 1:
            message = f"services give port {number} different transports: {', '.join(sorted(transports))}"
            related = tuple(Related(port.span, name) for name, port in sorted(transports.items()))
            yield diagnostic("IST0116", message, pod.meta.span, resource=pod.meta.id, related=related)


def _protocols(mesh: Mesh) -> Iterator[Diagnostic]:
    """Target ports; the first service by name decides."""
    for workload in mesh.workloads:
        seen: dict[int, Port] = {}
        for service, port in exposed_ports(mesh, workload):
            number = target_port(port, workload)
            first = seen.setdefault(number, port)
            if number and first.protocol != port.protocol:
                yield diagnostic(
                    "IST0116",
                    f"{service.meta.id} says that port {number} speaks {port.protocol}, another service {first.protocol}",
                    workload.meta.span,
                    resource=workload.meta.id,
                    related=(
                        Related(first.span, "the port that decides"),
                        Related(port.span, "the port that does not"),
                    ),
                )
