"""The table of all checks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from compiler.analysis import (
    api_backends,
    api_listeners,
    api_parents,
    credentials,
    destinations,
    duplicate_hosts,
    external_names,
    gateway_conflicts,
    gateway_hosts,
    gateway_references,
    name_decides,
    partly_carried,
    patterns,
    port_names,
    rule_hosts,
    shared_ports,
    subset_workloads,
    unreachable_rules,
)
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh

Check = Callable[[Mesh], Iterator[Diagnostic]]

CHECKS: tuple[Check, ...] = (
    destinations.check,
    gateway_references.check,
    credentials.check,
    duplicate_hosts.check,
    gateway_conflicts.check,
    gateway_hosts.check,
    unreachable_rules.check,
    rule_hosts.check,
    subset_workloads.check,
    port_names.check,
    external_names.check,
    shared_ports.check,
    api_listeners.check,
    api_parents.check,
    api_backends.check,
    name_decides.check,
    partly_carried.check,
    patterns.check,
)


def analyze(mesh: Mesh) -> list[Diagnostic]:
    """Everything that the checks find, in their order."""
    return [finding for check in CHECKS for finding in check(mesh)]
