"""Link: the mesh becomes one slice per proxy."""

from __future__ import annotations

from compiler.gateways import gateway_proxies
from compiler.link.api_gateways import api_gateway
from compiler.link.draft import LinkedSlice
from compiler.link.istio_gateways import istio_gateway
from compiler.link.sidecars import OutboundParts, sidecar
from compiler.link.view import Views
from compiler.mesh import Mesh


def link(mesh: Mesh) -> list[LinkedSlice]:
    """Every slice of a mesh, sorted by name. What does not resolve has become an explicit 5xx; analysis has said so."""
    views = Views(mesh)
    parts = OutboundParts(mesh, views)
    slices = [
        sidecar(mesh, workload, parts)
        for workload in mesh.workloads
        if (workload.meta.namespace, workload.meta.name) not in mesh.gateway_workloads
    ]
    slices += [istio_gateway(mesh, proxy, views.of(proxy.namespace)) for proxy in gateway_proxies(mesh)]
    slices += [
        api_gateway(mesh, gateway, views.of(gateway.meta.namespace))
        for gateway in mesh.api_gateways.values()
        if mesh.serves(gateway)
    ]
    return sorted(slices, key=lambda item: item.shape.name)
