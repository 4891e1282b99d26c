"""``python -m tests.differential``: one slice, two engines, the same requests; whatever differs and is not on the list fails the run.

Exit 0 where nothing does, 1 where something does, 2 where data that may not be skipped (WEFT_REQUIRE_ALL=1) are not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from tests.differential.datagrams import run_datagrams
from tests.differential.running import run
from tests.differential.worlds import MANIFESTS, worlds

CLIENTS = 20
"""Clients in each world of datagrams."""


def main() -> int:
    """Runs and prints; the exit code is 1 where something differs that nothing explains."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a world's name")
    parser.add_argument("--datagrams", type=int, default=15, help="how many worlds of datagrams")
    parser.add_argument(
        "--progress", action="store_true", help="name each slice that is done on the standard error stream"
    )
    asked = parser.parse_args()
    if os.environ.get("WEFT_REQUIRE_ALL") and not MANIFESTS.exists():
        print(f"no conformance data at {MANIFESTS}: set WEFT_CONFORMANCE", file=sys.stderr)
        return 2
    begin = time.monotonic()
    chosen = [world for world in worlds(asked.seed) if asked.only in world.name]
    with tempfile.TemporaryDirectory() as folder:
        say = _say if asked.progress else _nothing
        tally = trio.run(partial(run, chosen, asked.requests, asked.seed, Path(folder), say=say))
        sent, differing = trio.run(run_datagrams, asked.seed, asked.datagrams, CLIENTS, Path(folder))
    print(f"{tally.requests} requests on {len(chosen)} slices in {time.monotonic() - begin:.0f} s")
    print(f"{sent} datagrams in {asked.datagrams} worlds: {len(differing)} unexplained")
    print("".join(f"    {one}\n" for one in differing[:5]), end="")
    for name, count in sorted(tally.explained.items()):
        print(f"  known: {name}: {count}")
    for name, count in tally.refused.items():
        print(f"  not translated: {name}: {count}")
    for text, examples in sorted(grouped(tally.unexplained).items(), key=lambda item: -len(item[1])):
        print(f"{len(examples)} x {text}")
        for example in examples[:2]:
            print(f"    {example}")
    print(f"unexplained: {len(tally.unexplained)}")
    return 1 if tally.unexplained or differing else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _nothing(_text: str) -> None:
    """Says nothing."""


def grouped(unexplained: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The requests of each difference, so that one mistake is read once."""
    found: dict[str, list[str]] = {}
    for text, request in unexplained:
        found.setdefault(text, []).append(request)
    return found


if __name__ == "__main__":
    sys.exit(main())
