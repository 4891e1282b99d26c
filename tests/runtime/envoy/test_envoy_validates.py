"""Envoy itself accepts what the translation makes of every example and of every conformance manifest that compiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree, Tree
from compiler.worktree import WorkTree
from snapshot.index import Snapshot, assemble
from snapshot.prepared import prepare
from tests.compiler.compiled import CONFORMANCE, conformance
from tests.runtime.envoy_export import exported, objections

pytestmark = pytest.mark.integration

REPO = Path(__file__).parents[3]
MANIFESTS = CONFORMANCE / "gateway-conformance" / "manifests"
PLACES = {"{GATEWAY_CLASS_NAME}": "weft", "{GATEWAY_CONTROLLER_NAME}": "weft.dev/gateway-controller"}


def compiled(tree: Tree) -> Snapshot:
    snapshot = compile_tree(tree, allow_partial=True).snapshot
    assert snapshot is not None
    return snapshot


def judged(snapshot: Snapshot, folder: Path, seen: set[str], *, sidecars: int = 1000) -> dict[str, str]:
    """Envoy's objections by slice. All slices are translated; Envoy is asked once about equal ones, and about so many sidecars of one tree."""
    found = {}
    for entry in snapshot.index.slices:
        if entry.behaviour in seen:
            continue
        seen.add(entry.behaviour)
        file = exported(prepare(assemble(snapshot.digest, entry, snapshot.blobs)), folder)
        if entry.proxy == "sidecar":
            sidecars -= 1
        if entry.proxy != "sidecar" or sidecars >= 0:
            problem = objections(file)
            if problem:
                found[entry.name] = problem
    return found


@pytest.mark.parametrize("name", ["bookshop", "guardrails", "limits"])
def test_envoy_accepts_every_slice_of_an_example(name: str, tmp_path: Path) -> None:
    assert judged(compiled(WorkTree(REPO / "examples" / name / "mesh")), tmp_path, set()) == {}


def filled(path: Path) -> bytes:
    text = path.read_text()
    for place, value in PLACES.items():
        text = text.replace(place, value)
    return text.encode()


@pytest.mark.parametrize(("suite", "folder"), [("base", "tests"), ("mesh", "tests/mesh")])
def test_envoy_accepts_every_conformance_manifest_that_compiles(suite: str, folder: str, tmp_path: Path) -> None:
    conformance("gateway-conformance", "requests.json")
    base = filled(MANIFESTS / suite / "manifests.yaml")
    cases = sorted((MANIFESTS / folder).glob("*.yaml"))
    assert cases
    seen: set[str] = set()
    found = judged(compiled(MemoryTree({"base.yaml": base})), tmp_path, seen)
    for path in cases:
        snapshot = compile_tree(MemoryTree({"base.yaml": base, "case.yaml": filled(path)}), allow_partial=True).snapshot
        if snapshot is not None:
            problems = judged(snapshot, tmp_path, seen, sidecars=1 if suite == "mesh" else 0)
            found |= {f"{path.name}: {name}": text for name, text in problems.items()}
    assert found == {}
    assert len(seen) > 20
