"""Positioned YAML: every mapping, sequence and scalar knows where it stands, and the position travels with it.

Nodes are compared by identity, and they are structs so that msgspec writes and reads whole documents for the cache; the tags are its.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from compiler.diagnostic import Span

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


class Scalar(msgspec.Struct, array_like=True, eq=False, tag=0):
    """A leaf, already resolved as Kubernetes resolves it (compiler/scalars.py: YAML 1.1, so an unquoted ``yes`` is true)."""

    value: bool | int | float | str | None
    span: Span

    def plain(self) -> Plain:
        """The value without positions."""
        return self.value


class Sequence(msgspec.Struct, array_like=True, eq=False, tag=1):
    """A list of nodes."""

    items: list[Node]
    span: Span

    def __iter__(self) -> Iterator[Node]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def plain(self) -> Plain:
        """The values without positions."""
        return [item.plain() for item in self.items]


class Mapping(msgspec.Struct, array_like=True, eq=False, tag=2):
    """A map with string keys. ``key_spans`` says where each key itself stands.

    A key whose value is null is in ``key_spans`` only: Kubernetes treats it as absent, and so does whoever reads ``entries``.
    """

    entries: dict[str, Node]
    key_spans: dict[str, Span]
    span: Span

    def get(self, key: str) -> Node | None:
        """The value under a key, or None."""
        return self.entries.get(key)

    def plain(self) -> Plain:
        """The values without positions."""
        return {key: node.plain() for key, node in self.entries.items()}


Node: TypeAlias = Scalar | Sequence | Mapping


class Document(msgspec.Struct, array_like=True, eq=False, kw_only=True):
    """One Kubernetes-shaped object as it stands in a file. ``root`` has apiVersion and kind; ``namespace`` is as written ("" where not)."""

    file: str
    api_version: str
    kind: str
    namespace: str
    name: str
    root: Mapping

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
