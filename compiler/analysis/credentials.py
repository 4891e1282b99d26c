"""Gateways that name a secret which Git should have. Only in repositories that keep Secrets; others fill the slot elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Severity
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101, a warning: the key itself never comes from Git."""
    if not mesh.has_any("Secret"):
        return
    for gateway in mesh.gateways_asked_about():
        namespaces = {workload.meta.namespace for workload in mesh.gateway_selected(gateway)}
        for server in gateway.servers:
            for reference in server.tls.credentials if server.tls else ():
                places = {(namespace, reference.value) for namespace in namespaces}
                if places and not places & set(mesh.secrets):
                    shown = ", ".join(sorted(f"{namespace}/{name}" for namespace, name in places))
                    yield diagnostic(
                        "IST0101",
                        f"credential `{reference.value}` is no Secret in Git (looked for {shown})",
                        reference.span,
                        resource=gateway.meta.id,
                        severity=Severity.WARNING,
                    )
