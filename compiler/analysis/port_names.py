"""Service ports whose protocol is not declared, so that proxies must look at the first bytes."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Service
from compiler.resources.protocol import AUTO

SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})
MANAGED_LABEL = "gateway.istio.io/managed"


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0118, a note, at the port; not for what the platform or a gateway's controller has written."""
    exempt = SYSTEM_NAMESPACES | {mesh.config.root_namespace}
    for service in mesh.services:
        if not isinstance(service.origin, Service) or service.origin.external_name:
            continue
        if service.namespace in exempt or _of_istio(service.meta.labels):
            continue
        for port in service.ports:
            if port.protocol == AUTO:
                shown = f"`{port.name}`" if port.name else "without a name"
                message = (
                    f"port {port.number} {shown} does not say its protocol; name it like `http-web` or set appProtocol"
                )
                yield diagnostic("IST0118", message, port.span, resource=service.meta.id)


def _of_istio(labels: Labels) -> bool:
    """Whether a Service is part of an installation of Istio, or made by its gateway controller."""
    return any(key in (MANAGED_LABEL, "istio") or (key, value) == ("release", "istio") for key, value in labels)
