"""Applications that run as the proxy's user, whose traffic redirection leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.injection import PROXY
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor

PROXY_USER = 1337


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0144, once per workload, at the security context."""
    for pod in mesh.pods:
        owners = [pod.spec, *(item for item in pod.spec.each("containers") if item.text("name") != PROXY)]
        context = next((found for owner in owners if (found := _as_proxy(owner)) is not None), None)
        if context is not None:
            message = f"runAsUser {PROXY_USER} is the proxy's own user, so this traffic would not pass the proxy"
            yield diagnostic("IST0144", message, context.span, resource=pod.meta.id)


def _as_proxy(owner: Cursor) -> Cursor | None:
    context = owner.at("securityContext")
    return context if context is not None and context.number("runAsUser") == PROXY_USER else None
