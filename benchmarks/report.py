"""The table that is printed and the file that is written."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.measure import Row
from benchmarks.swap import SwapResult

REFERENCE = "envoy"


class Report(msgspec.Struct, frozen=True):
    """``build/bench.json``."""

    rows: list[Row]
    swap: SwapResult | None
    machine: str
    duration_s: float
    load_average: float


def machine() -> str:
    """The machine in a line: ratios compare across machines, absolute figures do not."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    )


def write(report: Report, path: Path) -> None:
    """Writes the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def table(rows: Sequence[Row]) -> str:
    """The rows, with CPU and median latency as ratios to Envoy of the same work."""
    lines = [
        f"{'work':<14}{'target':<9}{'CPU us/req':>11}{'x envoy':>9}{'req/s':>10}{'p50 us':>9}{'x envoy':>9}{'p99 us':>9}{'failed':>8}"
    ]
    for row in rows:
        if row.lacks:
            lines.append(f"{row.work:<14}{row.target:<9}  {row.lacks}")
            continue
        base = next((other for other in rows if (other.work, other.target) == (row.work, REFERENCE)), None)
        cpu = _ratio(row.cpu_us_per_request, base.cpu_us_per_request if base else None)
        p50 = _ratio(row.p50_us, base.p50_us if base else None)
        lines.append(
            f"{row.work:<14}{row.target:<9}{_number(row.cpu_us_per_request):>11}{cpu:>9}{row.requests_per_s:>10.0f}"
            f"{row.p50_us:>9.0f}{p50:>9}{row.p99_us:>9.0f}{row.failed:>8}"
        )
    return "\n".join(lines)


def swap_lines(swap: SwapResult) -> str:
    """What the swap row says."""
    return (
        f"swap: {swap.swaps} swaps of a {swap.routes:,}-route slice under load: {swap.failed} failed of {swap.requests} requests,"
        f" longest lane pause {swap.longest_pause_ms:.2f} ms (own work {swap.longest_work_ms:.2f} ms),"
        f" publish to live p50 {swap.live_p50_ms:.0f} ms p99 {swap.live_p99_ms:.0f} ms"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(value: float | None, base: float | None) -> str:
    return "-" if not value or not base else f"{value / base:.2f}"
