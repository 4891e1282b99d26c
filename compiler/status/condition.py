"""The parts that a status is made of. There is no time and no generation in them: the same tree has the same status."""

from __future__ import annotations

import msgspec

from compiler.api_references import Verdict
from compiler.resources.cursor import Labels
from compiler.resources.meta import Meta

CONTROLLER = "weft.dev/gateway-controller"
"""Who signs a status where the tree does not say which controller serves the class."""


class Condition(msgspec.Struct, frozen=True):
    """One condition; ``reason`` is one that the specification defines for this type."""

    type: str
    holds: bool
    reason: str
    message: str


class ListenerStatus(msgspec.Struct, frozen=True):
    """One listener: the kinds of route it takes, how many routes it has, and how it is itself."""

    name: str
    kinds: tuple[str, ...]
    attached: int
    conditions: tuple[Condition, ...]


class ParentStatus(msgspec.Struct, frozen=True):
    """How a route or policy is under one parent or ancestor, which is written as the document writes it."""

    reference: Labels
    controller: str
    conditions: tuple[Condition, ...]


class ObjectStatus(msgspec.Struct, frozen=True):
    """One object's status. Parts that its kind does not have are None."""

    meta: Meta
    kind: str
    conditions: tuple[Condition, ...] | None = None
    addresses: Labels = ()
    attached_sets: int | None = None
    listeners: tuple[ListenerStatus, ...] | None = None
    parents: tuple[ParentStatus, ...] | None = None
    ancestors: tuple[ParentStatus, ...] | None = None


def judged(kind: str, problem: Verdict | None, reason: str, message: str) -> Condition:
    """A condition that holds with ``reason`` unless there is a problem."""
    return Condition(kind, True, reason, message) if problem is None else refused(kind, problem)


def refused(kind: str, problem: Verdict) -> Condition:
    """A condition that does not hold."""
    return Condition(kind, False, problem.reason, problem.message)
