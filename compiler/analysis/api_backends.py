"""Backends of routes that must not be followed: their share of requests is answered 500, of connections closed (Gateway API)."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.api_references import backend_problem
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.gateway_api import ObjectRef


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0111 at the backend, or at a rule that has neither a backend nor a redirect."""
    for route in mesh.http_routes:
        for rule in route.rules:
            if not rule.backends and rule.filters.redirect is None:
                message = "the rule has no backendRefs and no redirect, so its requests are answered 500"
                yield diagnostic("WFT0111", message, rule.span, resource=route.meta.id)
            for backend in rule.backends:
                problem = backend_problem(mesh, route, backend.target, backend.port)
                if problem:
                    message = f"{problem.message}; its share of requests is answered 500"
                    related = _service(mesh, backend.target)
                    yield diagnostic("WFT0111", message, backend.target.span, resource=route.meta.id, related=related)
            for mirror in rule.filters.mirrors:
                problem = backend_problem(mesh, route, mirror.target, mirror.port)
                if problem:
                    message = f"{problem.message}; nothing is mirrored there"
                    related = _service(mesh, mirror.target)
                    yield diagnostic("WFT0111", message, mirror.target.span, resource=route.meta.id, related=related)
    for connections in mesh.connection_routes:
        for backend in (backend for item in connections.rules for backend in item.backends):
            problem = backend_problem(mesh, connections, backend.target, backend.port)
            if problem:
                lost = "datagrams is dropped" if connections.meta.id.kind == "UDPRoute" else "connections is closed"
                message = f"{problem.message}; its share of {lost}"
                related = _service(mesh, backend.target)
                yield diagnostic("WFT0111", message, backend.target.span, resource=connections.meta.id, related=related)


def _service(mesh: Mesh, target: ObjectRef) -> tuple[Related, ...]:
    """The Service that a backend names, where there is one."""
    service = mesh.kubernetes_service(target.namespace, target.name)
    return () if service is None else (Related(service.meta.span, "the Service"),)
