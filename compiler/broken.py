"""One broken document, and which parts of it can still be believed: those in which no error stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from compiler.diagnostic import Span
from compiler.node import Document, Mapping, Node, Scalar, Sequence, find
from compiler.wording import nearest

Value: TypeAlias = "Node | str | int | list[Value] | dict[str, Value]"

LABELLED = frozenset({"Pod", "EndpointSlice"})
"""Kinds whose own labels say whom they are about."""


class UnreadableScopeError(Exception):
    """Whom a broken resource is about cannot be told."""


class Broken:
    """One broken document: its ``spec``, and which parts of it no error stands in."""

    def __init__(self, document: Document, errors: list[Span]) -> None:
        self.document = document
        self._errors = errors
        self._starts = {(error.line, error.column) for error in errors}
        spec = find(document.root, ("spec",))
        self.spec = spec if isinstance(spec, Mapping) else Mapping({}, {}, document.root.span)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong with it: it is replaced because its namespace is closed."""
        return not self._errors

    def replaced(self, form: Callable[[Broken], dict[str, Value]]) -> Document:
        """The stand-in, at the positions of what it stands for."""
        return self.whole({"spec": form(self)})

    def whole(self, body: dict[str, Value]) -> Document:
        """A stand-in of a kind whose fields stand beside its metadata."""
        root, span = self.document.root, self.document.root.span
        entries = {key: root.entries[key] for key in ("apiVersion", "kind")}
        entries["metadata"] = self._metadata(root, span)
        entries |= {key: node_of(value, span) for key, value in body.items()}
        return msgspec.structs.replace(self.document, root=Mapping(entries, dict.fromkeys(entries, span), span))

    def _metadata(self, root: Mapping, span: Span) -> Node:
        """The metadata, or of broken ones what names the resource; a Pod's labels are whom it is about."""
        metadata = root.entries.get("metadata")
        if not isinstance(metadata, Mapping):
            raise UnreadableScopeError("metadata")
        if self.is_clean(root, "metadata"):
            return metadata
        named: dict[str, Value] = {
            key: metadata.entries[key] for key in ("name", "namespace") if key in metadata.entries
        }
        if not all(self.is_clean(metadata, key) for key in named):
            raise UnreadableScopeError("metadata")
        labels = self.kept("labels", within=metadata) if self.document.kind in LABELLED else None
        return node_of(named if labels is None else {**named, "labels": labels}, span)

    def is_clean(self, mapping: Mapping, key: str) -> bool:
        """Whether no error stands at a key or in its value."""
        places = (
            mapping.key_spans[key],
            mapping.entries[key].span if key in mapping.entries else mapping.key_spans[key],
        )
        return not any(starts_within(error, place) for error in self._errors for place in places)

    def kept(self, field: str, *, within: Mapping | None = None) -> Node | None:
        """A field that is about the scope, None where it is not written; raises UnreadableScopeError where it is wrong, or may be misspelt."""
        mapping = self.spec if within is None else within
        if field in mapping.entries:
            if not self.is_clean(mapping, field):
                raise UnreadableScopeError(field)
            return mapping.entries[field]
        wrong = (key for key, span in mapping.key_spans.items() if (span.line, span.column) in self._starts)
        if any(nearest(key, [field]) for key in wrong):
            raise UnreadableScopeError(field)
        return None

    def needed(self, field: str, *, within: Mapping | None = None) -> Node:
        """A field that is about the scope and must be there; raises UnreadableScopeError."""
        node = self.kept(field, within=within)
        if node is None:
            raise UnreadableScopeError(field)
        return node

    def either(self, field: str) -> dict[str, Value]:
        """A field that narrows the scope, left out where it is wrong: the refusal then reaches further than the resource did."""
        return (
            {field: self.spec.entries[field]} if field in self.spec.entries and self.is_clean(self.spec, field) else {}
        )

    def optional(self, *fields: str) -> dict[str, Value]:
        """Those of the fields that are written; raises UnreadableScopeError where one is wrong."""
        held = {field: self.kept(field) for field in fields}
        return {field: node for field, node in held.items() if node is not None}

    def items(self, field: str) -> list[Mapping]:
        """The entries of a list; raises UnreadableScopeError where it is none."""
        node = self.spec.entries.get(field)
        if not isinstance(node, Sequence) or not all(isinstance(item, Mapping) for item in node):
            raise UnreadableScopeError(field)
        return [item for item in node if isinstance(item, Mapping)]


def node_of(value: Value, span: Span) -> Node:
    """A value as a node, all of it at one place."""
    match value:
        case dict():
            return Mapping({key: node_of(item, span) for key, item in value.items()}, dict.fromkeys(value, span), span)
        case list():
            return Sequence([node_of(item, span) for item in value], span)
        case str() | int():
            return Scalar(value, span)
    return value


def starts_within(inner: Span, outer: Span) -> bool:
    """Whether a span starts within another."""
    at, start, end = (inner.line, inner.column), (outer.line, outer.column), (outer.end_line, outer.end_column)
    return inner.file == outer.file and (start <= at < end or start == at)
