"""Fuzzes the compiler: ``python -m tests.fuzz --minutes 60 [--target loader] [--first 1]``.

Exits 1 where a fault was found; build/fuzz has the traceback and the shrunk input of each. ``--first`` is the number of the first round:
another number gives other inputs, the same one the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.campaign import run_campaign
from tests.fuzz.targets import TARGETS

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"


def main() -> int:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--first", type=int, default=1)
    asked = parser.parse_args()
    names = asked.target or list(TARGETS)
    faults = run_campaign(
        names, seconds=asked.minutes * 60, first=asked.first, folder=FOLDER, say=lambda text: print(text, flush=True)
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
