"""Competing resources of which nothing but the name says which one holds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.hosts import full_host
from compiler.mesh import Mesh
from compiler.resources.meta import Meta


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0102 at each PeerAuthentication of an occupied scope and DestinationRule policy of an occupied host that yields by name."""
    yield from _yielding((item.meta, (item.meta.namespace, item.selector)) for item in mesh.peer_authentications)
    yield from _yielding(
        (item.meta, (item.meta.namespace, full_host(item.host.value, item.meta.namespace)))
        for item in mesh.destination_rules
        if item.policy is not None
    )


def _yielding(claims: Iterable[tuple[Meta, Hashable]]) -> Iterator[Diagnostic]:
    holders: dict[Hashable, Meta] = {}
    for meta, scope in claims:
        holder = holders.setdefault(scope, meta)
        if holder is not meta and (holder.priority, holder.created) == (meta.priority, meta.created):
            yield diagnostic(
                "WFT0102",
                f"{holder.id} holds for the same scope, only because its name comes first",
                meta.span,
                resource=meta.id,
                related=(Related(holder.span, "the one that holds"),),
            )
