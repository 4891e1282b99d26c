"""``python -m benchmarks``: runs the works on the targets, prints the table, writes build/bench.json."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.certificates import Certificates, make_certificates
from benchmarks.hop import Target
from benchmarks.measure import Row, measure
from benchmarks.report import Report, machine, swap_lines, table, write
from benchmarks.swap import SWAPS, SwapResult, measure_swaps
from benchmarks.swap import WORK as SWAP_WORK
from benchmarks.targets.envoy import Envoy
from benchmarks.targets.haproxy import Haproxy
from benchmarks.targets.nginx import Nginx
from benchmarks.targets.weft import Weft
from benchmarks.works import WORKS

WEFT = Weft()
TARGETS: tuple[Target, ...] = (WEFT, Envoy(), Nginx(), Haproxy())
SWAP = SWAP_WORK.name
OUTPUT = Path("build") / "bench.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for and reports what ran; exit 1 where a reply failed, 2 where something could not be run."""
    options = _options(arguments)
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name)
        certificates = make_certificates(folder)
        rows, problems = _rows(options, certificates, folder)
        swap: SwapResult | None = None
        if SWAP in options.work and WEFT.name in options.target:
            print(f"{SWAP}: {SWAP_WORK.about}", file=sys.stderr)
            try:
                swap = measure_swaps(certificates, folder / SWAP, swaps=options.swaps)
            except RuntimeError as error:
                problems.append(f"{SWAP}: {error}")
    print(table(rows))
    if swap is not None:
        print(swap_lines(swap))
    print(f"{machine()}, load average before {busy:.1f}")
    report = Report(rows=rows, swap=swap, machine=machine(), duration_s=options.duration, load_average=busy)
    write(report, options.output)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 2
    return 1 if any(row.failed for row in rows) or (swap is not None and swap.failed) else 0


def _rows(options: argparse.Namespace, certificates: Certificates, folder: Path) -> tuple[list[Row], list[str]]:
    """The rows of the works that ran, and why others did not: one work that fails costs no other its row."""
    rows: list[Row] = []
    problems: list[str] = []
    targets = [target for target in TARGETS if target.name in options.target]
    for work in (work for work in WORKS if work.name in options.work):
        print(f"{work.name}: {work.about}", file=sys.stderr)
        try:
            found = measure(
                work,
                targets,
                duration_s=options.duration,
                runs=options.runs,
                certificates=certificates,
                folder=folder / work.name,
            )
            rows += [row for row in found if row.target in options.target]
        except RuntimeError as error:
            problems.append(f"{work.name}: {error}")
        finally:
            WEFT.close()
    return rows, problems


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    works = [*(work.name for work in WORKS), SWAP]
    targets = [*(target.name for target in TARGETS), "direct"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--work", type=_chosen(works), default=works, help=f"comma-separated, of {', '.join(works)}")
    parser.add_argument(
        "--target", type=_chosen(targets), default=targets, help=f"comma-separated, of {', '.join(targets)}"
    )
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of each load (3)")
    parser.add_argument("--runs", type=int, default=3, help="loads per row, of which the median counts (3)")
    parser.add_argument("--swaps", type=int, default=SWAPS, help=f"publishes of the swap row ({SWAPS})")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the JSON file ({OUTPUT})")
    return parser.parse_args(arguments)


def _chosen(known: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
