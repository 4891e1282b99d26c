"""Weights whose sum is not what their writer had in mind."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.virtual_service import ConnectionRule, HttpRule

WHOLE = 100


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0122 at a VirtualService's rule whose weights do not sum to 100, and at a route's whose weights are all 0."""
    for service in mesh.virtual_services:
        rules: list[HttpRule | ConnectionRule] = [*service.http, *service.tls, *service.tcp]
        for rule in rules:
            weights = [target.weight for target in rule.targets]
            if len(weights) > 1 and sum(weights) != WHOLE:
                shares = ", ".join(f"{weight / sum(weights):.1%}" for weight in weights) if any(weights) else "none"
                message = f"the weights sum to {sum(weights)}, not {WHOLE}; the shares are {shares}"
                yield diagnostic("WFT0122", message, rule.span, resource=service.meta.id)
    for connections in mesh.connection_routes:
        for one in connections.rules:
            if one.backends and not any(backend.weight for backend in one.backends):
                lost = "datagram is dropped" if connections.meta.id.kind == "UDPRoute" else "connection is closed"
                message = f"all weights are 0, so every {lost}"
                yield diagnostic("WFT0122", message, one.span, resource=connections.meta.id)
    for route in mesh.http_routes:
        for api_rule in route.rules:
            if api_rule.backends and not any(backend.weight for backend in api_rule.backends):
                message = "all weights are 0, so every request is answered 500"
                yield diagnostic("WFT0122", message, api_rule.span, resource=route.meta.id)
