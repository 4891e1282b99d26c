"""Whether a reply was made from one snapshot per hop: what hot swaps may never break, decided from the reply's headers alone.

Each hop names its snapshot (``x-weft-snapshot: <workload>=<digest>``) and leaves marks that this snapshot sets at several places. A reply is
``mixed`` where a mark is not the named snapshot's; ``unknown`` where a hop names none that was published, or not all hops name one; ``stale``
where a hop names an older snapshot than a reply did that had come before this request was sent, so that the swap was not of one moment.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

STAMP = "x-weft-snapshot"
DIGEST = 12
"""How many letters of a digest the proxies show."""

Pairs = Sequence[tuple[str, str]]


class Marks(msgspec.Struct, frozen=True):
    """What may be seen. ``hops`` are the workloads in the order in which a reply passes them; ``snapshots`` has, in the order of their
    publication, the digest of each and by hop the headers that it sets."""

    hops: tuple[str, ...]
    snapshots: tuple[tuple[str, dict[str, dict[str, str]]], ...]

    @property
    def names(self) -> frozenset[str]:
        """The headers that matter."""
        said = {name for _, hops in self.snapshots for marks in hops.values() for name in marks}
        return frozenset({STAMP, *said})


class Judge:
    """Looks at replies. Owns what was seen: ``newest`` is by hop the latest snapshot's number, ``changes`` how often a hop named another."""

    def __init__(self, marks: Marks) -> None:
        self._hops = marks.hops
        self._known = {
            f"{hop}={digest[:DIGEST]}": (number, tuple(said.get(hop, {}).items()))
            for number, (digest, said) in enumerate(marks.snapshots)
            for hop in marks.hops
        }
        self.newest = [0] * len(marks.hops)
        self.changes = [0] * len(marks.hops)
        self._last = [""] * len(marks.hops)

    def verdict(self, pairs: Pairs, before: Sequence[int]) -> str:
        """``mixed``, ``unknown``, ``stale`` or "". ``before`` is what ``newest`` was when the request was sent."""
        stamps = [value for name, value in pairs if name == STAMP]
        if len(stamps) != len(self._hops):
            return "unknown"
        said = dict(pairs)
        found = ""
        for place, (hop, stamp) in enumerate(zip(self._hops, stamps, strict=True)):
            known = self._known.get(stamp)
            if known is None or not stamp.startswith(f"{hop}="):
                return "unknown"
            number, marks = known
            if any(said.get(name) != value for name, value in marks):
                found = "mixed"
            elif number < before[place]:
                found = found or "stale"
            if stamp != self._last[place]:
                self.changes[place] += 1
                self._last[place] = stamp
            self.newest[place] = max(self.newest[place], number)
        return found
