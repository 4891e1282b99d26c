"""The load: wrk for HTTP/1.1 and h2load for HTTP/2, on their own core, and what they report."""

from __future__ import annotations

import re
import statistics
import subprocess
from pathlib import Path

import msgspec

from benchmarks.processes import LOAD_CORE
from benchmarks.works import HOST, Work

CONNECTIONS = 32
H2_CONNECTIONS = 8
H2_STREAMS = 16
_UNITS_US = {"us": 1.0, "ms": 1_000.0, "s": 1_000_000.0}


class Load(msgspec.Struct, frozen=True):
    """What one load saw. ``failed`` counts replies that were not 200 and connections that broke."""

    requests: int
    failed: int
    requests_per_s: float
    p50_us: float
    p99_us: float


def apply_load(work: Work, port: int, *, duration_s: float, folder: Path) -> Load:
    """Runs the work's load against a loopback port; raises RuntimeError where the tool fails."""
    url = f"http://127.0.0.1:{port}{work.path}"
    return _h2load(url, duration_s, folder) if work.http2 else _wrk(url, duration_s)


def _wrk(url: str, duration_s: float) -> Load:
    seconds = max(1, round(duration_s))
    return wrk_result(
        _run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", f"Host: {HOST}", url])
    )


def wrk_result(output: str) -> Load:
    """What wrk's output says; raises RuntimeError where it says nothing."""
    found = re.search(r"(\d+) requests in ", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if not found or not rate:
        raise RuntimeError(f"wrk said nothing useful:\n{output}")
    failed = int(bad.group(1)) if bad else 0
    failed += sum(int(count) for count in broken.groups()) if broken else 0
    return Load(int(found.group(1)), failed, float(rate.group(1)), _percentile(output, "50"), _percentile(output, "99"))


def _percentile(output: str, which: str) -> float:
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)$", output, re.MULTILINE)
    return float(found.group(1)) * _UNITS_US[found.group(2)] if found else 0.0


def _h2load(url: str, duration_s: float, folder: Path) -> Load:
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{max(1, round(duration_s))}", "-t1"]
    command += [f"--log-file={log}", f"--header=:authority: {HOST}", url]
    return h2load_result(_run(command), log)


def h2load_result(output: str, log: Path) -> Load:
    """What h2load's output and its log of requests say; raises RuntimeError where it says nothing."""
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    rate = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", output)
    if not found or not rate:
        raise RuntimeError(f"h2load said nothing useful:\n{output}")
    # The log has a line per request: start, status, duration in microseconds.
    times = sorted(float(line.split("\t")[2]) for line in log.read_text().splitlines())
    succeeded, *failed = (int(count) for count in found.groups())
    p50, p99 = (statistics.median(times), times[int(len(times) * 0.99)]) if times else (0.0, 0.0)
    return Load(succeeded, failed[0], float(rate.group(1)), p50, p99)


def _run(command: list[str]) -> str:
    pinned = ["taskset", "-c", str(LOAD_CORE), *command]
    done = subprocess.run(pinned, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.stdout
