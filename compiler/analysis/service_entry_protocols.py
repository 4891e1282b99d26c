"""ServiceEntries that give one host and port different protocols where some namespace sees both."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related
from compiler.mesh import Mesh
from compiler.resources.meta import Meta
from compiler.resources.written import Written

ALL = "*"
Claim = tuple[Written, str]


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0177, once per ServiceEntry, at its name."""
    claims: dict[tuple[str, str, int], list[Claim]] = {}
    for item in mesh.written("ServiceEntry"):
        for scope in _scopes(item):
            for host in item.spec.texts("hosts"):
                for port in item.spec.each("ports"):
                    key = (scope, host.lower(), port.number("number"))
                    claims.setdefault(key, []).append((item, port.text("protocol").upper()))
    reported: set[Meta] = set()
    for (scope, host, number), own in claims.items():
        seen = own if scope == ALL else [*own, *claims.get((ALL, host, number), ())]
        protocols = sorted({protocol for _, protocol in seen})
        for item, _ in seen if len(protocols) > 1 else ():
            if item.meta not in reported:
                reported.add(item.meta)
                others = tuple(Related(other.meta.span, "another") for other, _ in seen if other is not item)
                shown = ", ".join(protocol or "none" for protocol in protocols)
                message = f"`{host}` port {number} has different protocols: {shown}"
                yield diagnostic("IST0177", message, item.meta.span, resource=item.meta.id, related=others)


def _scopes(item: Written) -> set[str]:
    exported = item.spec.texts("exportTo")
    if not exported or ALL in exported:
        return {ALL}
    return {item.meta.namespace if scope == "." else scope for scope in exported}
