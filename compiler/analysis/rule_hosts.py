"""DestinationRules for hosts that nothing in the mesh has."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.meant_hosts import advice
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.hosts import covers, full_host
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0174 at the host."""
    for rule in mesh.destination_rules:
        host = full_host(rule.host.value, rule.meta.namespace)
        # Only a pattern has to be compared with every host.
        wild = host.startswith("*") and any(covers(host, known) for known in mesh.by_host)
        if host not in mesh.by_host and not wild:
            meant = advice(mesh, host, rule.meta.namespace)
            message = (
                f"host `{rule.host.value}` ({host}) is no Service and no ServiceEntry; the rule has no effect{meant}"
            )
            yield diagnostic("IST0174", message, rule.host.span, resource=rule.meta.id)
