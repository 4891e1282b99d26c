"""Routes by JWT claims at gateways where no RequestAuthentication checks tokens."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.matches import CLAIMS
from compiler.resources.virtual_service import MESH, HttpMatch, VirtualService
from compiler.resources.written import PodTemplate


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0149 at the first match by claims, once per gateway workload without authentication."""
    for service in mesh.virtual_services:
        asked = next(_claims(service), None)
        if asked is None:
            continue
        key, match = asked
        for reference in service.gateways:
            gateway = mesh.gateway(reference.value, service.meta.namespace)
            if reference.value == MESH or gateway is None:
                continue
            for pod in mesh.pods:
                if pod.has_labels(gateway.selector) and not authenticates(mesh, pod):
                    message = f"`{key}` needs a RequestAuthentication for {pod.meta.id}, which serves {gateway.meta.id}"
                    related = (Related(pod.meta.span, "the workload"), Related(gateway.meta.span, "the Gateway"))
                    yield diagnostic("IST0149", message, match.span, resource=service.meta.id, related=related)


def authenticates(mesh: Mesh, pod: PodTemplate) -> bool:
    """Whether a RequestAuthentication of the workload's namespace, or of the root namespace, selects it; one with targets selects nobody."""
    for item in mesh.written("RequestAuthentication"):
        selector = item.spec.at("selector")
        if item.spec.has("targetRef") or item.spec.has("targetRefs"):
            continue
        if item.meta.namespace in (pod.meta.namespace, mesh.config.root_namespace) and (
            selector is None or pod.has_labels(selector.labels("matchLabels"))
        ):
            return True
    return False


def _claims(service: VirtualService) -> Iterator[tuple[str, HttpMatch]]:
    for rule in service.http:
        for match in rule.matches:
            for claim in match.match.claims:
                yield f"{CLAIMS}.{'.'.join(claim.path)}", match
