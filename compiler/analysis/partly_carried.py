"""What a schema cannot tell apart: uses of carried fields that this version does not carry."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.carried import NOT_CARRIED
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.security import DRY_RUN_ANNOTATION
from compiler.resources.virtual_service import MESH, VirtualService


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0200 for some filters of one backend among several, networks at gateways, dry-run policies, names as workloads."""
    for service in mesh.virtual_services:
        if any(gateway.value != MESH for gateway in service.gateways):
            yield from _networks(service)
    for route in mesh.http_routes:
        for api_rule in route.rules:
            for backend in api_rule.backends if len(api_rule.backends) > 1 else ():
                if backend.filters.mirrors or backend.filters.cors is not None:
                    message = "a RequestMirror or CORS filter of one backend among several is not carried yet; its share is answered 500"
                    yield diagnostic(NOT_CARRIED, message, backend.target.span, resource=route.meta.id)
    for entry in mesh.workload_entries:
        if not entry.has_address:
            message = f"a workload entry at `{entry.endpoint.address}`, which is no IP address, is not carried yet"
            yield diagnostic(NOT_CARRIED, message, entry.meta.span, resource=entry.meta.id)
    for policy in mesh.access_rules:
        if policy.dry_run:
            message = f"`{DRY_RUN_ANNOTATION}` is not carried yet: the policy is neither enforced nor logged"
            yield diagnostic(NOT_CARRIED, message, policy.meta.span, resource=policy.meta.id)


def _networks(service: VirtualService) -> Iterator[Diagnostic]:
    for rule in (*service.tls, *service.tcp):
        if any(match.networks for match in rule.matches):
            message = "`destinationSubnets` at a gateway, whose own address nothing in Git says, is not carried; the match ignores it"
            yield diagnostic(NOT_CARRIED, message, rule.span, resource=service.meta.id)
