"""Curves that only one of the two engines can be held to."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.carried import NOT_CARRIED
from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic
from compiler.mesh import Mesh
from compiler.resources.cursor import Cursor
from compiler.resources.tls_parameters import CURVES
from compiler.resources.written import Written

ONLY_ENVOY = frozenset({"X25519MLKEM768"})
"""Curves that weft's own engine cannot be held to."""


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """WFT0200 at each curve that weft's own engine does not use: Python's ssl is held to one at a time, and not to every one."""
    for kind in ("MeshConfig", "Gateway", "Sidecar"):
        for item in mesh.written(kind):
            for tls in _tls(item):
                yield from _curves(item, tls)


def _tls(item: Written) -> Iterator[Cursor]:
    owners = [*item.spec.each("servers"), *item.spec.each("ingress")]
    for found in (*(owner.at("tls") for owner in owners), item.spec.at("tlsDefaults")):
        if found is not None:
            yield found


def _curves(item: Written, tls: Cursor) -> Iterator[Diagnostic]:
    named = [curve for curve in tls.references("ecdhCurves") if curve.value in CURVES]
    used = next((curve.value for curve in named if curve.value not in ONLY_ENVOY), "")
    does = "is held to one curve, the first that its OpenSSL has" if used else "refuses a slice with no other"
    for curve in named:
        if curve.value != used:
            message = f"the curve `{curve.value}` is carried by Envoy only; weft's own engine {does}"
            yield diagnostic(NOT_CARRIED, message, curve.span, resource=item.meta.id)
