"""Rate limits for what does not exist: they would limit nothing."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101 at the target's name. Gateways, routes and services stand in the limit's own namespace."""
    for item in mesh.rate_limits:
        namespace = item.meta.namespace
        for target in item.targets:
            kind, name = target.kind, target.name
            known = {one.meta.name for one in mesh.written(kind) if one.meta.namespace == namespace}
            if name.value not in known:
                shown = kind.partition(".")[0]
                there = ", ".join(sorted(known)) or "none"
                message = f"{shown} `{name.value}` does not exist in namespace {namespace}; there is {there}"
                yield diagnostic("IST0101", message, name.span, resource=item.meta.id)
