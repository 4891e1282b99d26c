"""Positioned YAML: every mapping, sequence and scalar knows where it stands, and the position travels with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from compiler.diagnostic import Span

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


class Scalar:
    """A leaf, already resolved as Kubernetes resolves it (compiler/scalars.py: YAML 1.1, so an unquoted ``yes`` is true)."""

    __slots__ = ("span", "value")

    def __init__(self, value: bool | float | str | None, span: Span) -> None:
        self.value = value
        self.span = span

    def plain(self) -> Plain:
        """The value without positions."""
        return self.value


class Sequence:
    """A list of nodes."""

    __slots__ = ("items", "span")

    def __init__(self, items: list[Node], span: Span) -> None:
        self.items = items
        self.span = span

    def __iter__(self) -> Iterator[Node]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def plain(self) -> Plain:
        """The values without positions."""
        return [item.plain() for item in self.items]


class Mapping:
    """A map with string keys. ``key_spans`` says where each key itself stands.

    A key whose value is null is in ``key_spans`` only: Kubernetes treats it as absent, and so does whoever reads ``entries``.
    """

    __slots__ = ("entries", "key_spans", "span")

    def __init__(self, entries: dict[str, Node], key_spans: dict[str, Span], span: Span) -> None:
        self.entries = entries
        self.key_spans = key_spans
        self.span = span

    def get(self, key: str) -> Node | None:
        """The value under a key, or None."""
        return self.entries.get(key)

    def plain(self) -> Plain:
        """The values without positions."""
        return {key: node.plain() for key, node in self.entries.items()}


Node: TypeAlias = Scalar | Sequence | Mapping


class Document:
    """One Kubernetes-shaped object as it stands in a file. ``root`` has apiVersion and kind; ``namespace`` is as written ("" where not)."""

    __slots__ = ("api_version", "file", "kind", "name", "namespace", "root")

    def __init__(self, *, file: str, api_version: str, kind: str, namespace: str, name: str, root: Mapping) -> None:
        self.file = file
        self.api_version = api_version
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.root = root

    def plain(self) -> Plain:
        """The object without positions, as its schema sees it."""
        return self.root.plain()


def find(node: Node | None, path: tuple[str | int, ...]) -> Node | None:
    """The node at a path of keys and indexes, or None where the path leaves the tree."""
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            node = node.entries.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node
