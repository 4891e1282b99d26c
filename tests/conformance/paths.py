"""Envoy's path normalisation pairs."""

from __future__ import annotations

from policies.path import MERGE_SLASHES, normalize
from tests.conformance.corpus import Tally, read


def run() -> Tally:
    """The canonical and merge-slashes tables; a path that does not start with a slash is refused by us before."""
    tally = Tally()
    data = read("http1/envoy_path_cases.json")
    for path in data["canonical_invalid"]:
        tally.count(f"invalid {path}", None if normalize(path) is None else "accepted")
    for profile, table in (("BASE", "canonical"), (MERGE_SLASHES, "merge_slashes")):
        for path, wanted in data[table]:
            bare, _, query = path.partition("?")
            if not path.startswith("/"):
                tally.leave(
                    f"{table} {path!r}", "a request target in origin form starts with a slash (RFC 9112 section 3.2.1)"
                )
                continue
            got = normalize(bare, profile)
            got = f"{got}?{query}" if "?" in path else got
            tally.count(f"{table} {path}", None if got == wanted else f"{got!r}, wanted {wanted!r}")
    return tally
