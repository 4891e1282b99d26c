"""Custom resource definitions of the Gateway API in Git, by the version of the bundle that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh

BUNDLE = "gateway.networking.k8s.io/bundle-version"
OLDEST, OLDEST_TO_COME = (1, 0, 0), (1, 1, 0)
NEEDED: dict[str, tuple[int, int, int]] = {
    "grpcroutes.gateway.networking.k8s.io": (1, 1, 0),
    "backendtlspolicies.gateway.networking.k8s.io": (1, 4, 0),
    "tlsroutes.gateway.networking.k8s.io": (1, 5, 0),
    "listenersets.gateway.networking.k8s.io": (1, 5, 0),
}
"""The first bundle whose version of a kind is the one that is served."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0176 for a kind older than needed, IST0156 and IST0172 for a bundle that is, or will be, too old for all kinds."""
    for item in mesh.written("CustomResourceDefinition"):
        written = item.meta.annotation(BUNDLE)
        numbers = re.fullmatch(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", written)
        if not item.meta.name.endswith(".gateway.networking.k8s.io") or numbers is None:
            continue
        version = tuple(int(number) for number in numbers.groups())
        needed = NEEDED.get(item.meta.name, OLDEST)
        span = item.annotation_span(BUNDLE)
        if version < OLDEST:
            code, least = "IST0156", OLDEST
        elif version < needed:
            code, least = "IST0176", needed
        elif version < OLDEST_TO_COME:
            code, least = "IST0172", OLDEST_TO_COME
        else:
            continue
        message = f"`{item.meta.name}` is of version {written}; the least is v{'.'.join(map(str, least))}"
        yield diagnostic(code, message, span, resource=item.meta.id)
