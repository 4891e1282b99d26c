"""Workloads behind several services that disagree on what one target port speaks."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.link.clusters import target_port
from compiler.link.inbound import exposed_ports
from compiler.mesh import Mesh
from compiler.resources.kubernetes import Port


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0116 at the workload; the first service by name decides."""
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
