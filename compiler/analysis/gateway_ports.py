"""Istio Gateways whose workload is not in Git, or has no Service with the gateway's port."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.mesh import Mesh
from compiler.resources.gateway import Gateway
from compiler.resources.kubernetes import Service
from compiler.resources.written import PodTemplate


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101 (a note: gateways are often deployed from elsewhere) at the gateway, IST0162 at the server."""
    services = [service.origin for service in mesh.services if isinstance(service.origin, Service)]
    for gateway in mesh.gateways_asked_about():
        pods = [pod for pod in mesh.pods if pod.has_labels(gateway.selector)]
        if not pods:
            wanted = ", ".join(f"{key}={value}" for key, value in gateway.selector)
            message = f"no workload in Git has the labels {wanted}"
            yield diagnostic("IST0101", message, gateway.meta.span, resource=gateway.meta.id, severity=Severity.NOTE)
        else:
            yield from _ports(gateway, pods, services)


def _ports(gateway: Gateway, pods: list[PodTemplate], services: list[Service]) -> Iterator[Diagnostic]:
    behind = [
        service
        for service in services
        if any(service.meta.namespace == pod.meta.namespace and pod.has_labels(service.selector) for pod in pods)
        and service.selector
    ]
    known = {number for service in behind for port in service.ports for number in (port.number, port.target) if number}
    for server in gateway.servers:
        # Outside of Kubernetes a gateway needs no Service, so none at all is no mistake.
        if behind and server.number not in known:
            shown = ", ".join(map(str, sorted(known))) or "none"
            message = f"port {server.number} is in no Service of the gateway's workload; they have {shown}"
            yield diagnostic("IST0162", message, server.span, resource=gateway.meta.id)
