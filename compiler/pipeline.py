"""The spine of the compiler: a tree becomes documents, resources, a mesh, findings, slices and a snapshot.

    load -> validate -> guard -> resources -> mesh -> analyze -> link -> encode

Each stage reports all that it finds; the pipeline stops before the first stage whose input an error has made meaningless.
"""

from __future__ import annotations

import msgspec

from compiler.analysis import analyze
from compiler.carried import NOT_CARRIED, not_carried
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.documents import load_documents
from compiler.encode import encode_snapshot
from compiler.guardrails import Guards, load_guardrails, waive, waivers_of
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


EXPLICIT = frozenset({"WFT0200", "IST0101", "IST0109", "IST0112"})
"""Findings for which link has an explicit answer: what is not carried is left out, what does not exist is answered 5xx, and of several
that claim one host the first holds. ``allow_partial`` publishes in spite of them and of nothing else."""


def check(tree: Tree, dates: Dates | None = None) -> list[Diagnostic]:
    """Everything that is wrong with a tree, sorted by position; what depends on the date only where ``dates`` are given."""
    _, found = _understand(tree, dates)
    return found


def compile_tree(tree: Tree, *, allow_partial: bool = False) -> Compilation:
    """Compiles a tree. Any error forbids a snapshot, and so does what this version does not carry yet.

    With ``allow_partial`` the findings of ``EXPLICIT`` do not forbid one.
    """
    mesh, found = _understand(tree)
    if not allow_partial:
        found = [_forbidding(item) for item in found]
    forbidden = any(item.severity is Severity.ERROR and not (allow_partial and item.code in EXPLICIT) for item in found)
    if mesh is None or forbidden:
        return Compilation(None, tuple(found))
    return Compilation(encode_snapshot(link(mesh), tree.digest, mesh.positions), tuple(found))


def _forbidding(finding: Diagnostic) -> Diagnostic:
    """What is not carried is a warning to who checks and an error to who publishes."""
    return msgspec.structs.replace(finding, severity=Severity.ERROR) if finding.code == NOT_CARRIED else finding


def _understand(tree: Tree, dates: Dates | None = None) -> tuple[Mesh | None, list[Diagnostic]]:
    guardrails, broken = load_guardrails(tree)
    guards = Guards(guardrails)
    documents, found = load_documents(tree)
    for document in documents:
        wrong = validate(document)
        found += wrong or not_carried(document)
        broken += [] if wrong else guards.check(document)
    waivers = [waiver for file, content in tree.files() for waiver in waivers_of(file, content)]
    if any(item.severity is Severity.ERROR for item in found):
        return None, sorted(waive([*found, *broken], waivers, complete=False), key=_place)
    resources, repeated = load_resources(documents)
    mesh = Mesh(resources, dates=dates)
    found += repeated
    found += analyze(mesh)
    broken += guards.check_mesh(documents)
    return mesh, sorted(waive([*found, *broken], waivers, complete=True), key=_place)


def _place(finding: Diagnostic) -> tuple[object, ...]:
    return finding.span, finding.code, finding.message
