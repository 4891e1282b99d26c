"""The spine of the compiler: a tree becomes documents, resources, a mesh, findings, slices and a snapshot.

    load -> validate -> guard -> resources -> inventory -> analyze -> link -> encode

Each stage reports all that it finds; the pipeline stops before the first stage whose input an error has made meaningless.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from compiler.carried import NOT_CARRIED
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.documents import skipped_kinds
from compiler.encode import EncodedSlices, encode_slices, encode_snapshot
from compiler.guardrails import Guards, load_guardrails, waive
from compiler.inventory import Inventory, PositionsOf
from compiler.link import Scope, Scopes, link
from compiler.memory import Memory
from compiler.mesh import Mesh
from compiler.resources.meta import GATEWAY_API
from compiler.stand_ins import is_within
from compiler.surroundings import Neighbours
from compiler.tree import Tree
from snapshot.index import Snapshot


class Compilation(msgspec.Struct, frozen=True):
    """What a tree came to. ``snapshot`` is None where an error forbids one; diagnostics are sorted by position."""

    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...]


EXPLICIT = frozenset({"WFT0200", "IST0101", "IST0109", "IST0110", "IST0111", "IST0112"})
"""Findings for which link has an explicit answer: what is not carried is left out, what does not exist is answered 5xx, and of several
that claim one host or workload the first holds. ``allow_partial`` publishes in spite of them."""

API_GATEWAY = f"Gateway.{GATEWAY_API}"
ABSENCES = frozenset({"IST0101", "IST0127", "IST0132", "IST0149", "IST0162", "WFT0110", "WFT0111", "WFT0125"})
"""Findings that something is not there."""

UNREAD = frozenset(
    {
        *("IST0126", "IST0139", "IST0147", "IST0149", "IST0152", "IST0153", "IST0154"),
        *("IST0156", "IST0159", "IST0160", "IST0161"),
    }
)
"""Errors in what link does not read: Istio's own installation, kinds that are not carried, keys that never come from Git. ``allow_partial``
publishes in spite of them too."""


def check(tree: Tree, dates: Dates | None = None, *, memory: Memory | None = None) -> list[Diagnostic]:
    """Everything that is wrong with a tree, sorted by position; what depends on the date only where ``dates`` are given.

    With a ``memory`` of an earlier state of the tree, only changed files are read anew.
    """
    memory = memory or Memory()
    found = _understand(tree, dates, memory).found
    memory.save()
    return found


def understand(tree: Tree, dates: Dates | None = None) -> tuple[Mesh | None, list[Diagnostic]]:
    """The mesh of a tree, None where an error has made it meaningless, and everything that is wrong, as ``check`` reports it.

    A stand-in for a Gateway of the Gateway API takes no route, which says nothing of the Gateway that is meant.
    """
    inventory, found, _ = _understand(tree, dates, Memory())
    if (
        inventory is None
        or inventory.closing
        or any(inventory.outlines[n].fails for n in inventory.of_kinds(API_GATEWAY))
    ):
        return None, found
    return inventory.mesh(dates), found


def compile_tree(tree: Tree, *, allow_partial: bool = False, memory: Memory | None = None) -> Compilation:
    """Compiles a tree. Any error forbids a snapshot, and so does what this version does not carry yet.

    With ``allow_partial`` the findings of ``EXPLICIT`` and ``UNREAD`` do not forbid one, and neither do those in a resource that has a
    stand-in which fails (compiler/stand_ins.py). With a ``memory``, only what a change concerns is
    read and linked anew; the result is the same.
    """
    memory = memory or Memory()
    inventory, found, answered = _understand(tree, None, memory)
    if not allow_partial:
        found = [_forbidding(item) for item in found]
    forbidden = any(
        item.severity is Severity.ERROR and not (allow_partial and (item.code in EXPLICIT | UNREAD or item in answered))
        for item in found
    )
    snapshot = None if inventory is None or forbidden else _snapshot(inventory.closed(), tree.digest, memory)
    memory.save()
    return Compilation(snapshot, tuple(found))


def _snapshot(inventory: Inventory, tree_digest: str, memory: Memory) -> Snapshot:
    provenance: dict[bytes, bytes] = {}
    positions = PositionsOf(inventory)

    def encoded(scope: Scope) -> EncodedSlices:
        return encode_slices(link(scope), positions, provenance)

    return encode_snapshot(memory.slices(list(Scopes(inventory).all()), encoded, positions), tree_digest)


def _forbidding(finding: Diagnostic) -> Diagnostic:
    """What is not carried is a warning to who checks and an error to who publishes."""
    return msgspec.structs.replace(finding, severity=Severity.ERROR) if finding.code == NOT_CARRIED else finding


class _Understood(NamedTuple):
    """What the tree holds (None where an error has made it meaningless), all findings, and those that a stand-in answers."""

    inventory: Inventory | None
    found: list[Diagnostic]
    answered: frozenset[Diagnostic] = frozenset()


def _understand(tree: Tree, dates: Dates | None, memory: Memory) -> _Understood:
    guardrails, broken = load_guardrails(tree)
    guards = Guards(guardrails)
    files = memory.survey(tree, guards)
    waivers = [waiver for file in files for waiver in file.outline.waivers]
    refused = list(tree.refusals())
    found = [*refused, *skipped_kinds(file.outline.skipped_spans for file in files if file.outline.skipped)]
    for file in files:
        found += file.outline.found
        broken += file.outline.broken
    errors = frozenset(item for item in found if item.severity is Severity.ERROR)
    if any(item in errors for item in refused) or not all(file.outline.stands for file in files):
        return _Understood(None, sorted(waive([*found, *broken], waivers, complete=False), key=_place))
    inventory = Inventory(files)
    if inventory.config.root_namespace in inventory.closing:
        # What was there may have held for every namespace.
        return _Understood(None, sorted(waive([*found, *broken], waivers, complete=False), key=_place))
    replaced = [place for file in files for place in file.outline.replaced]
    found += inventory.repeated
    analyzed = memory.findings(Neighbours(inventory).all(), dates)
    found += (item for item in analyzed if _forbids(item) or not is_within(item, replaced))
    if inventory.closing:
        # What seems to be missing may be what could not be read.
        found = [item for item in found if item.code not in ABSENCES]
    broken += guards.check_mesh(inventory.documents())
    return _Understood(inventory, sorted(waive([*found, *broken], waivers, complete=not errors), key=_place), errors)


def _forbids(finding: Diagnostic) -> bool:
    return finding.severity is Severity.ERROR and finding.code not in EXPLICIT | UNREAD


def _place(finding: Diagnostic) -> tuple[object, ...]:
    return finding.span, finding.code, finding.message
