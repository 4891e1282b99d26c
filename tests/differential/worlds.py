"""The slices that both engines run: the examples', those of Gateway API's conformance manifests, and meshes that hypothesis draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree, Tree
from compiler.worktree import WorkTree
from snapshot.index import assemble
from snapshot.prepared import PreparedSlice, prepare
from tests.compiler.compiled import CONFORMANCE
from tests.differential.generated import generated

REPO = Path(__file__).parents[2]
MANIFESTS = CONFORMANCE / "gateway-conformance" / "manifests"
PLACES = {"{GATEWAY_CLASS_NAME}": "weft", "{GATEWAY_CONTROLLER_NAME}": "weft.dev/gateway-controller"}


SIDECAR_LISTENERS = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: shop}
spec: {selector: {app: b}, ports: [{name: http, port: 80}, {name: http-admin, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: c, namespace: far}
spec: {selector: {app: c}, ports: [{name: http, port: 80}, {name: http-admin, port: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop}
spec:
  hosts: [b]
  http:
  - match: [{uri: {prefix: /v1}, port: 9000}]
    rewrite: {uri: /}
    route: [{destination: {host: b, port: {number: 80}}}]
  - route: [{destination: {host: b, port: {number: 9000}}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a, namespace: shop}
spec:
  workloadSelector: {labels: {app: a}}
  egress:
  - {port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./b.shop.svc.cluster.local], captureMode: NONE}
  - {port: {number: 3128, protocol: HTTP_PROXY, name: proxy}, hosts: ["far/*", "./b.shop.svc.cluster.local"], captureMode: NONE}
  - {hosts: [./a.shop.svc.cluster.local, far/*]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  ingress:
  - {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:7070}
  - {port: {number: 8081, protocol: HTTP, name: other}, bind: 127.0.0.7, defaultEndpoint: 127.0.0.1:7071}
"""
"""A sidecar that listens where its Sidecar says: a port, a proxy of its own, and what it accepts."""


class World(msgspec.Struct, frozen=True):
    """One slice to run."""

    name: str
    prepared: PreparedSlice


def worlds(seed: int, *, meshes: int = 10, every: int = 1) -> list[World]:
    """All of them, or of the conformance manifests only each so many; slices that behave alike are there once."""
    seen: set[str] = set()
    return [
        *_of("bookshop", WorkTree(REPO / "examples" / "bookshop" / "mesh"), seen),
        *conformance("base", "tests", seen, every),
        *conformance("mesh", "tests/mesh", seen, every),
        *_of("sidecar listeners", MemoryTree({"mesh.yaml": SIDECAR_LISTENERS.encode()}), seen),
        *(World(f"generated/{number}", prepared) for number, prepared in enumerate(generated(seed, meshes))),
    ]


def conformance(suite: str, folder: str, seen: set[str], every: int) -> Iterator[World]:
    """The slices of the conformance manifests: every gateway; of sidecars, which differ little within one tree, the first."""
    if not MANIFESTS.exists():
        return
    base = filled(MANIFESTS / suite / "manifests.yaml")
    for path in sorted((MANIFESTS / folder).glob("*.yaml"))[::every]:
        tree = MemoryTree({"base.yaml": base, "case.yaml": filled(path)})
        found = list(_of(path.stem, tree, seen))
        sidecars = [one for one in found if "/sidecar/" in one.name]
        yield from (one for one in found if one not in sidecars)
        yield from sidecars[: 1 if suite == "mesh" else 0]


def filled(path: Path) -> bytes:
    """A manifest with its placeholders replaced."""
    text = path.read_text()
    for place, value in PLACES.items():
        text = text.replace(place, value)
    return text.encode()


def _of(name: str, tree: Tree, seen: set[str]) -> Iterator[World]:
    snapshot = compile_tree(tree, allow_partial=True).snapshot
    if snapshot is None:
        return
    for entry in snapshot.index.slices:
        if entry.behaviour not in seen:
            seen.add(entry.behaviour)
            yield World(f"{name}/{entry.name}", prepare(assemble(snapshot.digest, entry, snapshot.blobs)))
