"""``make conformance``: runs what applies of the corpora, prints a table, writes build/conformance.json.

    python -m tests.conformance [CORPUS...] [--verbose]

A corpus is a module of this package with ``run() -> Tally``. Exit 1 where a case is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from tests.conformance.corpus import DATA, Tally

CORPORA = (
    "bookinfo",
    "samples",
    "schemas",
    "validation",
    "warnings",
    "matching",
    "llhttp",
    "http11probe",
    "h1spec",
    "gadgets",
    "gadgets_http2",
    "paths",
    "spiffe",
    "tokens",
    "bearers",
    "authorization",
    "gateway",
    "traffic",
    "status",
    "analyzer",
)


def main() -> int:
    """Runs the corpora named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("corpus", nargs="*", choices=[*CORPORA, []], help="which corpora; all when none is named")
    parser.add_argument("--verbose", action="store_true", help="print every case that is wrong or left out")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"no conformance data at {DATA}: set WEFT_CONFORMANCE", file=sys.stderr)
        return 2
    tallies: dict[str, Tally] = {}
    print(f"{'corpus':<16}{'cases':>8}{'right':>8}{'wrong':>8}{'left out':>10}{'seconds':>9}")
    for name in options.corpus or CORPORA:
        started = time.monotonic()
        tally = importlib.import_module(f"tests.conformance.{name}").run()
        tallies[name] = tally
        print(
            f"{name:<16}{tally.cases:>8}{tally.right:>8}{len(tally.wrong):>8}{len(tally.left_out):>10}{time.monotonic() - started:>9.1f}",
            flush=True,
        )
        if options.verbose:
            for feature, counts in sorted(tally.features.items()):
                print(f"    {feature:<60}{counts['right']:>5} right{counts['wrong']:>5} wrong")
            for title, cases in (("wrong", tally.wrong), ("left out", tally.left_out)):
                for case, why in cases:
                    print(f"    {title}: {case}: {why}")
    out = Path("build/conformance.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({name: tally.summary() for name, tally in tallies.items()}, indent=1) + "\n")
    wrong = sum(len(tally.wrong) for tally in tallies.values())
    print(f"{sum(t.right for t in tallies.values())} right, {wrong} wrong; written to {out}")
    return 1 if wrong else 0


sys.exit(main())
