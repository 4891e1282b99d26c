"""What is wrong with the user's configuration, as a value. Diagnostics accumulate; they are never raised."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Severity(IntEnum):
    """Ordered by weight; at least one error makes ``weft check`` exit 1."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


class Span(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A stretch of one file of the mesh repository; lines and columns count from 1, the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


class ResourceId(msgspec.Struct, frozen=True, order=True):
    """Which resource a diagnostic is about. ``namespace`` is "" for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        called = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {called}".rstrip()


class Related(msgspec.Struct, frozen=True):
    """Another place that a diagnostic points at, and why."""

    span: Span
    message: str


class Edit(msgspec.Struct, frozen=True):
    """Text that may stand in place of what a span holds, "" for nothing. A finding has one only where its author can have meant nothing else."""

    span: Span
    text: str


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding. ``code`` is in the catalog (compiler/catalog.py); ``message`` names the offending value, ``help`` the next action."""

    code: str
    severity: Severity
    message: str
    span: Span
    resource: ResourceId | None = None
    related: tuple[Related, ...] = ()
    help: str = ""
    edit: Edit | None = None
