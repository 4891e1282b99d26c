"""The spine of the compiler: a tree becomes documents, resources, a mesh, findings, slices and a snapshot.

    load -> validate -> resources -> mesh -> analyze -> link -> encode

Each stage reports all that it finds; the pipeline stops before the first stage whose input an error has made meaningless.
"""

from __future__ import annotations

import msgspec

from compiler.diagnostic import Diagnostic, Severity
from compiler.documents import load_documents
from compiler.encode import encode_snapshot
from compiler.link import link
from compiler.mesh import Mesh
from compiler.resources import load_resources
from compiler.schemas import validate
from compiler.tree import Tree
from snapshot.index import Snapshot


class Compilation(msgspec.Struct, frozen=True):
    """What a tree came to. ``snapshot`` is None where an error forbids one; diagnostics are sorted by position."""

    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...]


def check(tree: Tree) -> list[Diagnostic]:
    """Everything that is wrong with a tree, sorted by position."""
    _, found = _understand(tree)
    return found


def compile_tree(tree: Tree, *, allow_partial: bool = False) -> Compilation:
    """Compiles a tree. Any error forbids a snapshot, and so does what this version does not carry yet unless ``allow_partial``."""
    mesh, found = _understand(tree)
    if mesh is None or any(item.severity is Severity.ERROR for item in found):
        return Compilation(None, tuple(found))
    snapshot = encode_snapshot(link(mesh), tree.digest, mesh.positions)
    return Compilation(snapshot, tuple(found))


def _understand(tree: Tree) -> tuple[Mesh | None, list[Diagnostic]]:
    documents, found = load_documents(tree)
    for document in documents:
        found += validate(document)
    if any(item.severity is Severity.ERROR for item in found):
        return None, sorted(found, key=_place)
    resources, repeated = load_resources(documents)
    found += repeated
    return Mesh(resources), sorted(found, key=_place)


def _place(finding: Diagnostic) -> tuple[object, ...]:
    return finding.span, finding.code, finding.message
