"""Listeners of Gateways and ListenerSets that cannot stand; the others beside them still do."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.attachment import standing_listeners
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0112 at the listener."""
    for gateway in mesh.api_gateways.values():
        if not mesh.serves(gateway):
            continue
        _, refused = standing_listeners(mesh, gateway)
        for item in refused:
            listener, owner = item.place.listener, item.place.owner
            if mesh.is_asked_about(owner.meta):
                message = f"listener `{listener.name}` is not served: {item.reason}"
                held = ((ref.namespace, ref.name) for ref in listener.certificates)
                named = tuple(Related(mesh.secrets[at].meta.span, "the Secret") for at in held if at in mesh.secrets)
                yield diagnostic("WFT0112", message, listener.span, resource=owner.meta.id, related=named)
