"""Reading positioned nodes into values: each getter answers with a default where the document is silent, and remembers where it read.

Documents are schema-valid when they come here, so a getter converts and never complains.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from compiler.diagnostic import ResourceId, Span
from compiler.node import Mapping, Node, Scalar, Sequence
from policies.source import Position, SourceRef

Labels = tuple[tuple[str, str], ...]
Positions = dict[SourceRef, Position]

_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_MILLISECONDS = {
    "ns": Decimal("0.000001"),
    "us": Decimal("0.001"),
    "µs": Decimal("0.001"),
    "ms": Decimal(1),
    "s": Decimal(1000),
    "m": Decimal(60_000),
    "h": Decimal(3_600_000),
}


class Located(msgspec.Struct, frozen=True):
    """A reference to something else, as written, and where it is written."""

    value: str
    span: Span


def duration_ms(text: str) -> int:
    """Go's and Gateway API's durations (``1h30m``, ``0.5s``) in milliseconds; what is over zero is at least 1."""
    total = sum((Decimal(number) * _MILLISECONDS[unit] for number, unit in _DURATION.findall(text)), Decimal(0))
    return max(int(total), 1) if total > 0 else 0


class Cursor:
    """A mapping of one document, with its path inside the resource. Owns nothing; ``positions`` collects what ``source`` names."""

    __slots__ = ("node", "owner", "path", "positions")

    def __init__(self, node: Mapping, owner: ResourceId, positions: Positions, path: str = "") -> None:
        self.node = node
        self.owner = owner
        self.positions = positions
        self.path = path

    @property
    def span(self) -> Span:
        """Where this mapping stands."""
        return self.node.span

    def source(self, path: str | None = None, span: Span | None = None) -> SourceRef:
        """The name of this part (or of ``path``, standing at ``span``), its position remembered."""
        ref = SourceRef(self.owner.kind, self.owner.namespace, self.owner.name, self.path if path is None else path)
        where = span or self.node.span
        self.positions[ref] = Position(where.file, where.line, where.column)
        return ref

    def has(self, key: str) -> bool:
        """Whether the document says anything under this key; an explicit null says nothing."""
        node = self.node.get(key)
        return node is not None and not (isinstance(node, Scalar) and node.value is None)

    def text(self, key: str, default: str = "") -> str:
        """A scalar as text."""
        node = self.node.get(key)
        return _text(node) if isinstance(node, Scalar) and node.value is not None else default

    def located(self, key: str) -> Located | None:
        """A scalar as a reference."""
        node = self.node.get(key)
        return Located(_text(node), node.span) if isinstance(node, Scalar) and node.value is not None else None

    def number(self, key: str, default: int = 0) -> int:
        """A whole number. What is none, as it may be where a schema leaves the judgement to the cluster, counts as not written."""
        node = self.node.get(key)
        if isinstance(node, Scalar) and isinstance(node.value, (int, float, str)):
            try:
                return int(node.value)
            except ValueError:
                return default
        return default

    def fraction(self, key: str) -> float | None:
        """A number that need not be whole, or None."""
        node = self.node.get(key)
        if isinstance(node, Scalar) and isinstance(node.value, (int, float)):
            return float(node.value)
        return None

    def flag(self, key: str) -> bool:
        """A boolean; false where absent."""
        node = self.node.get(key)
        return isinstance(node, Scalar) and node.value is True

    def duration_ms(self, key: str) -> int | None:
        """A duration in milliseconds, or None."""
        text = self.text(key)
        return duration_ms(text) if text else None

    def at(self, key: str) -> Cursor | None:
        """A nested mapping, or None."""
        node = self.node.get(key)
        return self._child(node, key) if isinstance(node, Mapping) else None

    def empty(self, step: str) -> Cursor:
        """A nested mapping that nobody wrote, standing where this one stands."""
        return self._child(Mapping({}, {}, self.node.span), step)

    def each(self, key: str) -> list[Cursor]:
        """The mappings of a list, in order."""
        node = self.node.get(key)
        if not isinstance(node, Sequence):
            return []
        items = [(index, item) for index, item in enumerate(node.items) if isinstance(item, Mapping)]
        return [self._child(item, f"{key}[{index}]") for index, item in items]

    def entries(self, key: str) -> list[tuple[str, Cursor]]:
        """The mappings under the keys of a map, in the document's order."""
        node = self.node.get(key)
        if not isinstance(node, Mapping):
            return []
        items = [(name, item) for name, item in node.entries.items() if isinstance(item, Mapping)]
        return [(name, self._child(item, f"{key}.{name}")) for name, item in items]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of scalars as texts."""
        return tuple(item.value for item in self.references(key))

    def references(self, key: str) -> tuple[Located, ...]:
        """A list of scalars as references."""
        node = self.node.get(key)
        if not isinstance(node, Sequence):
            return ()
        return tuple(Located(_text(item), item.span) for item in node.items if isinstance(item, Scalar))

    def labels(self, key: str) -> Labels:
        """A map of texts, sorted by key."""
        return tuple(sorted(self.pairs(key)))

    def pairs(self, key: str) -> Labels:
        """A map of texts, in the document's order."""
        node = self.node.get(key)
        if not isinstance(node, Mapping):
            return ()
        return tuple((name, _text(item)) for name, item in node.entries.items() if isinstance(item, Scalar))

    def _child(self, node: Node, step: str) -> Cursor:
        assert isinstance(node, Mapping)
        return Cursor(node, self.owner, self.positions, f"{self.path}.{step}" if self.path else step)


def _text(node: Scalar) -> str:
    value = node.value
    if value is True or value is False:
        return "true" if value else "false"
    return "" if value is None else str(value)
