"""What Istio has deprecated or removed: fields, a tracing provider, and the kinds of its first authorization API."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.written import key_span

REMOVED_GROUP = "rbac.istio.io"
REMOVED_KINDS = frozenset({"ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"})


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0002 at the field or name."""
    yield from _delays(mesh)
    yield from _lightstep(mesh)
    for item in mesh.written("Sidecar"):
        policy = item.spec.at("outboundTrafficPolicy")
        if policy is not None and policy.has("egressProxy"):
            message = "`outboundTrafficPolicy.egressProxy` is ignored"
            yield diagnostic("IST0002", message, policy.span, resource=item.meta.id)
    for item in mesh.written("CustomResourceDefinition"):
        names = item.spec.at("names")
        if names is not None and item.spec.text("group") == REMOVED_GROUP and names.text("kind") in REMOVED_KINDS:
            message = f"{names.text('kind')} of {REMOVED_GROUP} is removed; use AuthorizationPolicy"
            yield diagnostic("IST0002", message, names.span, resource=item.meta.id)


def _delays(mesh: Mesh) -> Iterator[Diagnostic]:
    for item in mesh.written("VirtualService"):
        for rule in item.spec.each("http"):
            fault = rule.at("fault")
            delay = fault.at("delay") if fault else None
            if delay is not None and delay.number("percent") > 0:
                span = key_span(delay, "percent") or delay.span
                yield diagnostic("IST0002", "`percent` is deprecated; use `percentage`", span, resource=item.meta.id)


def _lightstep(mesh: Mesh) -> Iterator[Diagnostic]:
    names = {
        provider.text("name")
        for item in mesh.written("MeshConfig")
        for provider in (item.root.at("spec") or item.root).each("extensionProviders")
        if provider.has("lightstep")
    }
    for item in mesh.written("Telemetry"):
        for tracing in item.spec.each("tracing"):
            for provider in tracing.each("providers"):
                if provider.text("name") in names:
                    message = f"provider `{provider.text('name')}` is Lightstep's own; use OpenTelemetry"
                    yield diagnostic("IST0002", message, provider.span, resource=item.meta.id)
