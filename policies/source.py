"""Where a decision comes from, without saying which line: positions live in a section's provenance, never in its behaviour."""

from __future__ import annotations

import msgspec


class SourceRef(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Names one part of one resource, e.g. ``VirtualService/bookshop/reviews#spec.http[0].match[1]``.

    Stable under comments, reordered documents and moved files, so it may stand in behaviour bytes.
    """

    kind: str
    namespace: str
    name: str
    path: str = ""

    def __str__(self) -> str:
        stem = f"{self.kind}/{self.namespace}/{self.name}"
        return f"{stem}#{self.path}" if self.path else stem


class Position(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A place in the mesh repository: path relative to its root, line and column counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
