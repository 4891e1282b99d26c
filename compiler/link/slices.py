"""Link: one namespace's scope becomes a slice per proxy."""

from __future__ import annotations

from compiler.gateways import GatewayProxy
from compiler.link.api_gateways import api_gateway
from compiler.link.draft import LinkedSlice
from compiler.link.istio_gateways import istio_gateway
from compiler.link.scope import Scope
from compiler.link.sidecars import OutboundParts, sidecar
from compiler.link.view import View, held_selectors
from compiler.mesh import Mesh


def link(scope: Scope) -> list[LinkedSlice]:
    """Every slice of a namespace, sorted by name. What does not resolve has become an explicit 5xx; analysis has said so."""
    mesh = scope.mesh()
    parts = OutboundParts(mesh, View(mesh, scope.namespace))
    slices = [
        sidecar(mesh, workload, parts)
        for workload in mesh.workloads
        if workload.meta.namespace == scope.namespace
        and (workload.meta.namespace, workload.meta.name) not in mesh.gateway_workloads
    ]
    edge = View(mesh, scope.namespace, gateway=True)
    slices += [istio_gateway(mesh, proxy, _view_of(mesh, proxy, edge)) for proxy in scope.proxies]
    slices += [api_gateway(mesh, gateway, edge) for gateway in mesh.api_gateways.values() if mesh.serves(gateway)]
    return sorted(slices, key=lambda item: item.shape.name)


def _view_of(mesh: Mesh, proxy: GatewayProxy, shared: View) -> View:
    """What a gateway sees: as all of its namespace, unless some DestinationRule is for it."""
    held = held_selectors(mesh, shared.namespace, proxy.labels)
    return View(mesh, shared.namespace, gateway=True, held=held) if held else shared
