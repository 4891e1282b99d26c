"""Istio's tables of host names: which patterns meet, which cover which, what they have in common."""

from __future__ import annotations

from compiler.hosts import covers, overlap
from tests.conformance.corpus import Tally, read


def run() -> Tally:
    """The three tables whose rows hold only literals."""
    tally = Tally()
    tables = {table["test"]: table["rows"] for table in read("tables/host_matching.json")["tables"]}
    for row in tables["TestNameMatches"]:
        name = f"matches {row['a']!r} {row['b']!r}"
        if not row["a"] or not row["b"]:
            tally.leave(name, "an empty host never comes out of a validated resource")
            continue
        tally.count(name, None if (overlap(row["a"], row["b"]) is not None) is row["out"] else f"wanted {row['out']}")
    for row in tables["TestNameSubsetOf"]:
        tally.count(
            f"subset {row['a']!r} {row['b']!r}",
            None if covers(row["b"], row["a"]) is row["out"] else f"wanted {row['out']}",
        )
    for row in tables["TestNamesIntersection"]:
        found = {shared for a in row["a"] for b in row["b"] if (shared := overlap(a, b)) is not None}
        tally.count(f"common {row['a']} {row['b']}", None if found == set(row["intersection"]) else f"{sorted(found)}")
    return tally
