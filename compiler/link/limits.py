"""Which rate limits hold for a route: those of its rule, of its gateway, and of the service behind a sidecar."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from compiler.mesh import Mesh
from compiler.resources.meta import Meta
from policies.limits import RateLimit
from snapshot.section import Route

Limited = tuple[RateLimit, ...]


def limits_on(mesh: Mesh, owner: Meta, section: str = "") -> Limited:
    """The limits that target a resource, or the part of it that has this name, in the order in which they are asked."""
    id_ = owner.id
    found = mesh.limits_by_target.get((id_.kind, id_.namespace, id_.name), ())
    return ordered(limit for wanted, limit in found if wanted in ("", section))


def ordered(limits: Iterable[RateLimit]) -> Limited:
    """Each limit once, in the order in which limits are asked."""
    return tuple(sorted(dict.fromkeys(limits), key=lambda limit: limit.order))


def with_limits(routes: Iterable[Route], limits: Limited) -> list[Route]:
    """Routes under these limits, besides those that they have."""
    if not limits:
        return list(routes)
    return [msgspec.structs.replace(route, limits=ordered((*route.limits, *limits))) for route in routes]
