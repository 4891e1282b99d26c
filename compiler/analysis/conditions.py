"""Resources that came to Git with a status which says that something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh

KINDS = ("Service", "ServiceEntry", "AuthorizationPolicy")


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0171 at the condition."""
    for kind in KINDS:
        for item in mesh.written(kind):
            status = item.root.at("status")
            for condition in status.each("conditions") if status else ():
                if condition.text("status") == "False":
                    message = f"condition `{condition.text('type')}` is False: {condition.text('message') or condition.text('reason')}"
                    yield diagnostic("IST0171", message, condition.span, resource=item.meta.id)
