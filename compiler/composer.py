"""Text -> positioned nodes, from libyaml's events.

libyaml scans in C and hands out one event at a time; the tree is built here, on a stack of our own. A recursive composer
would crash on deep input, and would expand aliases before anyone could count them. So depth, nodes and aliases are counted at every
event, and the first that is too much stops the document.

An alias shares the node that its anchor made: positions inside it are the anchor's. Merge keys (``<<``) are resolved as
Kubernetes' YAML library resolves them: written keys win, then earlier sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from compiler.catalog import diagnostic
from compiler.diagnostic import Diagnostic, Related, Span
from compiler.node import Mapping, Node, Scalar, Sequence
from compiler.scalars import UnresolvableError, Value, is_string, key_text, resolve_plain, resolve_tagged

MAX_DEPTH = 100
MAX_NODES = 500_000
"""Per file, nodes that aliases repeat included. A route table of 10,000 routes has 150,000."""

MAX_DOCUMENTS = 100_000
"""Per file."""

MAX_FINDINGS = 1000
"""Per file."""

_COLLECTION_TAGS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class RefusedError(Exception):
    """A document that is not read further. ``whole_file`` says that the rest of its file is not either."""

    def __init__(self, found: Diagnostic, *, whole_file: bool = False) -> None:
        super().__init__(found.message)
        self.found = found
        self.whole_file = whole_file


class Place(NamedTuple):
    """Where a text stands in a file: how many lines and columns come before each of its own.

    ``within`` is the span of the scalar that the text was unfolded from, where the two cannot be told apart line by line.
    """

    file: str
    lines: int = 0
    columns: int = 0
    within: Span | None = None

    def below(self, lines: int) -> Place:
        """The place of what follows after so many lines of the text."""
        return self._replace(lines=self.lines + lines)

    def span(self, line: int, column: int, end_line: int, end_column: int) -> Span:
        """The span in the file of a stretch of the text, which counts from 0."""
        if self.within is not None:
            return self.within
        return Span(
            self.file,
            line + self.lines + 1,
            column + self.columns + 1,
            end_line + self.lines + 1,
            end_column + self.columns + 1,
        )


class _Anchored:
    """What an anchor names: its node, how many nodes it expands to, and how many levels it has."""

    __slots__ = ("height", "node", "size")

    def __init__(self, node: Node, size: int, height: int) -> None:
        self.node = node
        self.size = size
        self.height = height


class _Open:
    """A collection whose end has not been seen."""

    __slots__ = ("anchor", "before", "deepest", "flow", "key", "key_span", "merges", "merging", "node", "takes_keys")

    def __init__(self, node: Mapping | Sequence, event: Any, depth: int, before: int) -> None:
        self.node = node
        self.anchor: str | None = event.anchor
        self.flow: bool = event.flow_style
        self.before = before
        self.deepest = depth
        self.takes_keys = type(node) is Mapping
        self.key: str | None = None
        self.key_span = node.span
        self.merging = False
        self.merges: list[Node] = []


class Composer:
    """Owns the state of one run over one text: feed it events in order, take ``roots`` and ``diagnostics`` from it.

    ``nodes`` is how many nodes of the file were made before.
    """

    def __init__(self, place: Place, nodes: int = 0) -> None:
        self.place = place
        self.roots: list[Node] = []
        self.diagnostics: list[Diagnostic] = []
        self.nodes = nodes
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._end = place.span(0, 0, 0, 0)
        self._first_line = place.lines + 1
        self._first_column = place.columns + 1
        self._takes: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._mapping,
            yaml.SequenceStartEvent: self._sequence,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._start,
            yaml.DocumentEndEvent: _nothing,
            yaml.StreamStartEvent: _nothing,
            yaml.StreamEndEvent: _nothing,
        }

    def feed(self, event: Any) -> None:
        """Takes one event of yaml.CLoader; raises RefusedError where a bound is passed or an alias names nothing."""
        self._takes[type(event)](event)

    def _start(self, event: Any) -> None:
        if len(self.roots) >= MAX_DOCUMENTS:
            message = f"the file holds more than {MAX_DOCUMENTS:,} documents"
            raise RefusedError(diagnostic("WFT0005", message, self._span(event)), whole_file=True)
        self._anchors.clear()
        self._stack.clear()

    def _mapping(self, event: Any) -> None:
        self._open(event, Mapping({}, {}, self._span(event)))

    def _sequence(self, event: Any) -> None:
        self._open(event, Sequence([], self._span(event)))

    def _scalar(self, event: Any) -> None:
        span = self._end = self._span(event)
        text: str = event.value
        plain, quoted = event.implicit
        value = text if quoted or (plain and is_string(text)) else self._resolved(event, text, span)
        stack = self._stack
        if stack and stack[-1].key is None and stack[-1].takes_keys:
            self._key(stack[-1], value, span, merging=plain and text == "<<")
            if isinstance(value, bool) and text.lower() not in ("true", "false"):
                message = f"the key `{text}` reads as `{stack[-1].key}`"
                self._report(diagnostic("WFT0013", message, span))
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(Scalar(value, span), 1, 0)
            return
        node = Scalar(value, span)
        self._count(1, span)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(node, 1, 0)
        self._add(node)

    def _resolved(self, event: Any, text: str, span: Span) -> Value:
        try:
            return resolve_plain(text) if event.implicit[0] else resolve_tagged(event.tag, text)
        except UnresolvableError as error:
            self._report(diagnostic("WFT0006", str(error), span))
            return text

    def _key(self, parent: _Open, value: Value, span: Span, *, merging: bool) -> None:
        try:
            parent.key = value if type(value) is str else key_text(value)
        except UnresolvableError as error:
            self._report(diagnostic("WFT0006", str(error), span))
            parent.key = "null"
        parent.key_span = span
        parent.merging = merging

    def _open(self, event: Any, node: Mapping | Sequence) -> None:
        stack = self._stack
        if len(stack) >= MAX_DEPTH:
            raise RefusedError(diagnostic("WFT0005", f"the document nests deeper than {MAX_DEPTH} levels", node.span))
        if event.tag not in _COLLECTION_TAGS:
            message = f"the tag {event.tag} has no meaning in Kubernetes YAML"
            self._report(diagnostic("WFT0006", message, node.span))
        if stack and stack[-1].key is None and stack[-1].takes_keys:
            raise RefusedError(diagnostic("WFT0006", "a key must be a scalar, not a mapping or a sequence", node.span))
        self._count(1, node.span)
        stack.append(_Open(node, event, len(stack) + 1, self.nodes - 1))

    def _close(self, event: Any) -> None:
        done = self._stack.pop()
        node = done.node
        if done.flow:
            self._end = self._span(event)
        start, end = node.span, self._end
        node.span = Span(start.file, start.line, start.column, end.end_line, end.end_column)
        for source in done.merges:
            self._merge(node, source)
        if done.anchor is not None:
            height = done.deepest - len(self._stack)
            self._anchors[done.anchor] = _Anchored(node, self.nodes - done.before, height)
        if self._stack and done.deepest > self._stack[-1].deepest:
            self._stack[-1].deepest = done.deepest
        self._add(node)

    def _alias(self, event: Any) -> None:
        span = self._span(event)
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            inside = any(entry.anchor == event.anchor for entry in self._stack)
            what = "stands inside what it repeats" if inside else "names no anchor before it in this document"
            raise RefusedError(diagnostic("WFT0006", f"the alias *{event.anchor} {what}", span))
        self._count(anchored.size, span)
        self._end = span
        if not self._stack:
            return
        parent = self._stack[-1]
        if parent.key is None and parent.takes_keys:
            if not isinstance(anchored.node, Scalar):
                raise RefusedError(diagnostic("WFT0006", "a key must be a scalar, not a mapping or a sequence", span))
            self._key(parent, anchored.node.value, span, merging=False)
            return
        deepest = len(self._stack) + anchored.height
        if deepest > MAX_DEPTH:
            raise RefusedError(
                diagnostic("WFT0005", f"the alias nests the document deeper than {MAX_DEPTH} levels", span)
            )
        parent.deepest = max(parent.deepest, deepest)
        self._add(anchored.node)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.roots.append(node)
            return
        parent = self._stack[-1]
        container = parent.node
        if isinstance(container, Sequence):
            container.items.append(node)
            return
        key = parent.key
        assert key is not None
        parent.key = None
        if parent.merging:
            parent.merges.extend(node.items if isinstance(node, Sequence) else (node,))
        elif key in container.key_spans:
            self._duplicate(key, container.key_spans[key], parent.key_span)
        else:
            container.key_spans[key] = parent.key_span
            # Kubernetes prunes nulls: a key without a value counts as absent, but it is known where it stands.
            if type(node) is not Scalar or node.value is not None:
                container.entries[key] = node

    def _merge(self, into: Mapping | Sequence, source: Node) -> None:
        assert isinstance(into, Mapping)
        if not isinstance(source, Mapping):
            self._report(diagnostic("WFT0006", "a merge key (<<) takes a mapping or a list of mappings", source.span))
            return
        for key, node in source.entries.items():
            if key not in into.key_spans:
                into.entries[key] = node
                into.key_spans[key] = source.key_spans[key]

    def _duplicate(self, key: str, first: Span, second: Span) -> None:
        self._report(
            diagnostic(
                "WFT0002",
                f"the key `{key}` is here a second time; it was first set on line {first.line}",
                second,
                related=(Related(span=first, message="first set here"),),
            )
        )

    def _report(self, found: Diagnostic) -> None:
        """Keeps a finding. Nobody reads a thousand, and a generated file can hold a million duplicate keys: so many end the file."""
        if len(self.diagnostics) >= MAX_FINDINGS - 1:
            raise RefusedError(found, whole_file=True)
        self.diagnostics.append(found)

    def _count(self, nodes: int, span: Span) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"the file expands to more than {MAX_NODES:,} values, aliases included"
            raise RefusedError(diagnostic("WFT0005", message, span), whole_file=True)

    def _span(self, event: Any) -> Span:
        if self.place.within is not None:
            return self.place.within
        start, end = event.start_mark, event.end_mark
        # Place.span, written out: this runs for every event.
        line, column = self._first_line, self._first_column
        return Span(self.place.file, start.line + line, start.column + column, end.line + line, end.column + column)


def _nothing(_: Any) -> None:
    """What a composer does about the ends of streams and documents."""
