"""What an EnvoyFilter's patches ask for, and which resource says the same without Envoy's configuration.

A patch is written against the configuration that Istio generates for Envoy. weft's proxies have none, so no patch is carried over, now or
later; each is answered with the resource that serves its purpose, found by the filter it names or by the part that it applies to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, ResourceId
from compiler.mistakes import Path, where
from compiler.node import Document, Node, Scalar, Sequence, find


class Instead(NamedTuple):
    """What to write in place of a patch. ``kind`` is a kind that weft reads, or "" where no resource serves."""

    kind: str
    words: str


_BY_FILTER: tuple[tuple[str, Instead], ...] = (
    ("ext_authz", Instead("AuthorizationPolicy", "an AuthorizationPolicy with action CUSTOM")),
    ("jwt_authn", Instead("RequestAuthentication", "a RequestAuthentication")),
    ("rbac", Instead("AuthorizationPolicy", "an AuthorizationPolicy")),
    ("lua", Instead("TrafficExtension", "a TrafficExtension with `lua`")),
    ("wasm", Instead("WasmPlugin", "a WasmPlugin")),
    ("cors", Instead("VirtualService", "`corsPolicy` of a VirtualService")),
    ("fault", Instead("VirtualService", "`fault` of a VirtualService")),
    ("buffer", Instead("", "a limit in the application: no resource of Istio's says this")),
    ("ratelimit", Instead("DestinationRule", "`connectionPool` of a DestinationRule, which bounds load, not rates")),
    ("stats", Instead("Telemetry", "a Telemetry")),
)
_BY_PART = {
    "CLUSTER": Instead("DestinationRule", "`trafficPolicy` of a DestinationRule"),
    "HTTP_ROUTE": Instead("VirtualService", "a rule of a VirtualService"),
    "VIRTUAL_HOST": Instead("VirtualService", "a VirtualService"),
    "ROUTE_CONFIGURATION": Instead("VirtualService", "a VirtualService"),
    "LISTENER": Instead("Gateway", "`servers` of a Gateway, or `ingress` and `egress` of a Sidecar"),
    "FILTER_CHAIN": Instead("Gateway", "`servers` of a Gateway, or a PeerAuthentication"),
    "LISTENER_FILTER": Instead("Gateway", "`servers` of a Gateway"),
    "NETWORK_FILTER": Instead(
        "DestinationRule", "`connectionPool.tcp` of a DestinationRule, or an AuthorizationPolicy"
    ),
    "HTTP_FILTER": Instead("WasmPlugin", "a WasmPlugin"),
    "EXTENSION_CONFIG": Instead("WasmPlugin", "a WasmPlugin"),
    "BOOTSTRAP": Instead("", "the proxy's own bootstrap file"),
}
_NOTHING = Instead("", "the resource that serves the same purpose")


def answer_patches(
    document: Document, not_carried: frozenset[str], code: str, about: ResourceId
) -> Iterator[Diagnostic]:
    """One finding of ``code`` per patch, at what it applies to; ``not_carried`` are kinds that this version does not carry yet."""
    patches = find(document.root, ("spec", "configPatches"))
    for index, patch in enumerate(patches if isinstance(patches, Sequence) else ()):
        part, filter_name = _text(patch, "applyTo"), _filter_name(patch)
        place: Path = ("spec", "configPatches", index)
        instead = _instead(part, filter_name)
        called = " ".join([part or "no named part", *([f"`{filter_name}`"] if filter_name else [])])
        yet = " This version does not carry that yet." if instead.kind in not_carried else ""
        yield diagnostic(
            code,
            f"a patch of {called} cannot be carried over: weft's proxies have no Envoy configuration to patch",
            where(document, (*place, "applyTo") if part else place),
            resource=about,
            help=f"Use {instead.words}.{yet}",
        )


def _instead(part: str, filter_name: str) -> Instead:
    last = filter_name.rpartition(".")[2]
    return next((row for word, row in _BY_FILTER if word in last), _BY_PART.get(part, _NOTHING))


def _filter_name(patch: Node) -> str:
    """The filter that a patch adds, else the one that it changes; "" where it names none."""
    changed = ("match", "listener", "filterChain", "filter")
    names = (
        _text(patch, "patch", "value", "name"),
        _text(patch, *changed, "subFilter", "name"),
        _text(patch, *changed, "name"),
    )
    return next((name for name in names if name), "")


def _text(node: Node, *path: str) -> str:
    found = find(node, path)
    return found.value if isinstance(found, Scalar) and isinstance(found.value, str) else ""
