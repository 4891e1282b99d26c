"""Which routes of a virtual host a path can match, without asking each: the index behind ``decide``.

The model: every route has a rank, its place in first-match order. Exact paths are looked up in a dict; prefixes in one dict per
kind, once for each distinct prefix length that the host has; regexes in RE2 sets of at most SET_SIZE. What remains is a short list of
ranks, ascending. The cost follows the number of distinct prefix lengths (bounded by a path's length), not the number of routes.
"""

from __future__ import annotations

import re2

from policies.match import PathExact, PathMatch, PathPrefix, PathRegex, PathSegments
from policies.matching import compile_pattern

SET_SIZE = 256
"""One RE2 set fails to compile near 5,000 patterns and compiles slowly before; a few hundred stay under 2 ms."""

Ranks = list[int]


class PrefixTable:
    """Ranks by prefix. Owns two lists: prefixes by value, and the distinct lengths, longest first."""

    __slots__ = ("lengths", "ranks")

    def __init__(self) -> None:
        self.ranks: dict[str, Ranks] = {}
        self.lengths: list[int] = []

    def add(self, prefix: str, rank: int) -> None:
        """Enters one prefix; ranks arrive in ascending order."""
        self.ranks.setdefault(prefix, []).append(rank)
        if len(prefix) not in self.lengths:
            self.lengths = sorted([*self.lengths, len(prefix)], reverse=True)


class PathIndex:
    """The index of one virtual host. Filled once, in rank order, then only read; ``seal`` compiles the regex sets."""

    __slots__ = ("any_path", "exact", "exact_folded", "prefix", "prefix_folded", "regexes", "segments", "sets")

    def __init__(self) -> None:
        self.exact: dict[str, Ranks] = {}
        self.exact_folded: dict[str, Ranks] = {}
        self.prefix = PrefixTable()
        self.prefix_folded = PrefixTable()
        self.segments = PrefixTable()
        self.any_path: Ranks = []
        self.regexes: list[tuple[str, int]] = []
        self.sets: list[tuple[re2.Set, Ranks]] = []

    def add(self, path: PathMatch | None, rank: int) -> None:
        """Enters one route's path match. Ranks must ascend. Raises PatternError for a regex that RE2 refuses."""
        match path:
            case None:
                self.any_path.append(rank)
            case PathExact(value, ignore_case):
                table = self.exact_folded if ignore_case else self.exact
                table.setdefault(value.lower() if ignore_case else value, []).append(rank)
            case PathPrefix(""):
                self.any_path.append(rank)
            case PathPrefix(value, ignore_case):
                (self.prefix_folded if ignore_case else self.prefix).add(value.lower() if ignore_case else value, rank)
            case PathSegments(value):
                bare = value.rstrip("/")
                (self.segments if bare else self.prefix).add(bare or "/", rank)
            case PathRegex(pattern):
                compile_pattern(pattern)
                self.regexes.append((pattern, rank))
                if len(self.regexes) == SET_SIZE:
                    self.seal()

    def seal(self) -> None:
        """Compiles the regexes gathered so far into a set."""
        if not self.regexes:
            return
        expressions = re2.Set.FullMatchSet()
        for pattern, _ in self.regexes:
            expressions.Add(pattern)
        expressions.Compile()
        self.sets.append((expressions, [rank for _, rank in self.regexes]))
        self.regexes = []

    def parts(self) -> list[object]:
        """The many small objects that the index is made of, for whoever must free a large one little by little."""
        found: list[object] = [*self.exact.values(), *self.exact_folded.values(), *self.sets]
        for table in (self.prefix, self.prefix_folded, self.segments):
            found.extend(table.ranks.values())
        return found

    def candidates(self, path: str) -> Ranks:
        """The ranks whose path match holds, ascending. ``path`` has no query and starts with a slash (or is ``*``)."""
        found: list[Ranks] = []
        exact = self.exact.get(path)
        if exact is not None:
            found.append(exact)
        prefixes = self.prefix
        for length in prefixes.lengths:
            ranks = prefixes.ranks.get(path[:length])
            if ranks is not None and len(path) >= length:
                found.append(ranks)
        if self.segments.lengths:
            self._segments(path, found)
        if self.exact_folded or self.prefix_folded.lengths:
            self._folded(path.lower(), found)
        for expressions, numbers in self.sets:
            hits = expressions.Match(path)
            if hits:
                found.append(sorted(numbers[hit] for hit in hits))
        if self.any_path:
            found.append(self.any_path)
        if len(found) == 1:
            return found[0]
        return sorted(rank for ranks in found for rank in ranks)

    def _segments(self, path: str, found: list[Ranks]) -> None:
        table = self.segments
        size = len(path)
        for length in table.lengths:
            if size == length or (size > length and path[length] == "/"):
                ranks = table.ranks.get(path[:length])
                if ranks is not None:
                    found.append(ranks)

    def _folded(self, path: str, found: list[Ranks]) -> None:
        exact = self.exact_folded.get(path)
        if exact is not None:
            found.append(exact)
        for length in self.prefix_folded.lengths:
            ranks = self.prefix_folded.ranks.get(path[:length])
            if ranks is not None and len(path) >= length:
                found.append(ranks)
