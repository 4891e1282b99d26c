"""The slices that both engines run: the examples', those of Gateway API's conformance manifests, and meshes that hypothesis draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree, Tree
from compiler.worktree import WorkTree
from snapshot.index import Snapshot, assemble
from snapshot.prepared import PreparedSlice, prepare
from tests.compiler.compiled import CONFORMANCE
from tests.conformance.traffic_meshes import snapshots
from tests.differential.generated import generated
from tests.differential.written import WRITTEN

REPO = Path(__file__).parents[2]
MANIFESTS = CONFORMANCE / "gateway-conformance" / "manifests"
PLACES = {"{GATEWAY_CLASS_NAME}": "weft", "{GATEWAY_CONTROLLER_NAME}": "weft.dev/gateway-controller"}


class World(msgspec.Struct, frozen=True):
    """One slice to run."""

    name: str
    prepared: PreparedSlice


def worlds(seed: int, *, meshes: int = 10, every: int = 1) -> list[World]:
    """All of them, or of the conformance data only each so many; slices that behave alike are there once."""
    seen: set[str] = set()
    examples = sorted(path.parent for path in (REPO / "examples").glob("*/mesh"))
    return [
        *(world for path in examples for world in _of(path.name, WorkTree(path / "mesh"), seen)),
        *conformance("base", "tests", seen, every),
        *conformance("mesh", "tests/mesh", seen, every),
        *traffic(seen, every),
        *(
            world
            for name, text in WRITTEN.items()
            for world in _of(name, MemoryTree({"mesh.yaml": text.encode()}), seen)
        ),
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


def traffic(seen: set[str], every: int) -> Iterator[World]:
    """The slices of Istio's own traffic cases: the gateway's and the caller's, which the other sidecars' differ little from."""
    if not MANIFESTS.exists():
        return
    for number, (name, snapshot) in enumerate(snapshots()):
        if number % every == 0:
            found = _slices(name, snapshot, seen)
            yield from (one for one in found if "/sidecar/" not in one.name or one.name.endswith("/default/a"))


def filled(path: Path) -> bytes:
    """A manifest with its placeholders replaced."""
    text = path.read_text()
    for place, value in PLACES.items():
        text = text.replace(place, value)
    return text.encode()


def _of(name: str, tree: Tree, seen: set[str]) -> Iterator[World]:
    snapshot = compile_tree(tree, allow_partial=True).snapshot
    if snapshot is not None:
        yield from _slices(name, snapshot, seen)


def _slices(name: str, snapshot: Snapshot, seen: set[str]) -> Iterator[World]:
    for entry in snapshot.index.slices:
        if entry.behaviour not in seen:
            seen.add(entry.behaviour)
            yield World(f"{name}/{entry.name}", prepare(assemble(snapshot.digest, entry, snapshot.blobs)))
