"""Guardrails as values."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec

from compiler.diagnostic import Severity, Span
from compiler.guardrails.expression import Expression
from compiler.mistakes import Path
from compiler.node import Document, Mapping, Scalar, find
from compiler.resources.meta import CLUSTER_SCOPED, DEFAULT_NAMESPACE, kind_of


class Selector(msgspec.Struct, frozen=True):
    """Which documents a guardrail is about; an empty part asks for nothing."""

    kinds: frozenset[str] = frozenset()
    namespaces: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def takes(self, document: Document) -> bool:
        """Whether a document is selected. ``Gateway`` selects both kinds of that name, ``Gateway.gateway.networking.k8s.io`` the one."""
        if self.kinds and not self.kinds & {document.kind, kind_of(document)}:
            return False
        namespace = namespace_of(document)
        if self.namespaces and not any(fnmatchcase(namespace, pattern) for pattern in self.namespaces):
            return False
        written = find(document.root, ("metadata", "labels")) if self.labels else None
        held = written.entries if isinstance(written, Mapping) else {}
        return all(isinstance(node := held.get(name), Scalar) and node.value == value for name, value in self.labels)


class Rule(msgspec.Struct, frozen=True):
    """One expression, the field that it is about, its own words ("" for the guardrail's), and where it stands."""

    expression: Expression
    at: Path
    message: str
    span: Span


class Guardrail(msgspec.Struct, frozen=True):
    """One guardrail. ``validator`` is a compiled JSON Schema (jsonschema_rs), or None; ``rules`` are about each resource, ``mesh`` about all."""

    name: str
    selector: Selector
    severity: Severity
    message: str
    help: str
    span: Span
    validator: Any = None
    rules: tuple[Rule, ...] = ()
    mesh: tuple[Rule, ...] = ()


def namespace_of(document: Document) -> str:
    """The namespace that a document is in, "" for kinds that are in none."""
    return "" if document.kind in CLUSTER_SCOPED else document.namespace or DEFAULT_NAMESPACE
