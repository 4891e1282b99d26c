"""One work on its targets: start, check one reply, load in turns, take the medians."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.certificates import Certificates
from benchmarks.hop import Hop, Target
from benchmarks.load import Load, apply_load
from benchmarks.processes import Server, free_port
from benchmarks.targets.nginx import start_origin
from benchmarks.works import BODY_BYTES, HOST, Work

WARM_UP_S = 1.0
SETTLE_S = 0.2


class Run(msgspec.Struct, frozen=True):
    """One load on one target: the load's own figures, and CPU microseconds per request of all its proxies' processes (None: no proxy)."""

    load: Load
    cpu_us_per_request: float | None


class Row(msgspec.Struct, frozen=True):
    """The medians of a work's runs on one target. ``lacks`` says why there is none."""

    work: str
    target: str
    cpu_us_per_request: float | None = None
    requests_per_s: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    failed: int = 0
    runs: int = 0
    lacks: str = ""


def measure(
    work: Work, targets: Sequence[Target], *, duration_s: float, runs: int, certificates: Certificates, folder: Path
) -> Iterator[Row]:
    """Starts every target, then loads them in turns, so that a drift of the machine hits all alike. ``direct`` is the origin alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        origin_hop = Hop("origin", free_port(), 0, certificates, tls_in=work.origin_tls, http2=work.http2)
        origin = start_origin(origin_hop, folder)
        stack.callback(origin.stop)
        origin.wait_port(origin_hop.port)
        started: dict[str, tuple[int, list[Server]]] = {}
        for target in targets:
            if lacks := _lacks(work, target, certificates):
                yield Row(work.name, target.name, lacks=lacks)
            else:
                started[target.name] = stack.enter_context(_chain(work, target, origin_hop.port, certificates, folder))
        if not work.origin_tls:
            started["direct"] = (origin_hop.port, [])
        for name, (port, _) in started.items():
            require_reply(work, port, name)
        taken: dict[str, list[Run]] = {name: [] for name in started}
        for number in range(runs):
            for name, (port, servers) in started.items():
                if number == 0:
                    apply_load(work, port, duration_s=WARM_UP_S, folder=folder)
                taken[name].append(_run(work, port, servers, duration_s, folder))
        yield from (_median(work, name, found) for name, found in taken.items())


def hops_of(work: Work, target: str, origin: int, certificates: Certificates) -> list[Hop]:
    """The proxies of a work in the order of a request's way."""
    ports = [free_port() for _ in range(work.hops)]
    upstreams = [*ports[1:], origin]
    last = work.hops - 1
    return [
        Hop(
            name=f"{target}-{number}",
            port=ports[number],
            upstream=upstreams[number],
            certificates=certificates,
            tls_in=work.hop_tls and number > 0,
            tls_out=(work.hop_tls and number < last) or (work.origin_tls and number == last),
            http2=work.http2,
            routes=work.routes,
            origin=number == last,
        )
        for number in range(work.hops)
    ]


def require_reply(work: Work, port: int, name: str) -> None:
    """One request by curl, whose reply must be 200 and 1 KiB, so that no row measures an error page; raises RuntimeError."""
    version = "--http2-prior-knowledge" if work.http2 else "--http1.1"
    command = ["curl", "-sS", "--max-time", "10", version, "-H", f"Host: {HOST}", "-o", "/dev/null"]
    command += ["-w", "%{http_code} %{size_download}", f"http://127.0.0.1:{port}{work.path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.stdout != f"200 {BODY_BYTES}":
        raise RuntimeError(
            f"{work.name} on {name}: expected 200 and {BODY_BYTES} bytes, got {done.stdout} {done.stderr}"
        )


def _lacks(work: Work, target: Target, certificates: Certificates) -> str:
    return next((said for hop in hops_of(work, target.name, 1, certificates) if (said := target.lacks(hop))), "")


@contextmanager
def _chain(
    work: Work, target: Target, origin: int, certificates: Certificates, folder: Path
) -> Iterator[tuple[int, list[Server]]]:
    hops = hops_of(work, target.name, origin, certificates)
    servers: list[Server] = []
    try:
        for hop in reversed(hops):
            servers.append(target.start(hop, folder))
            servers[-1].wait_port(hop.port)
        yield hops[0].port, servers
    finally:
        for server in servers:
            server.stop()


def _run(work: Work, port: int, servers: list[Server], duration_s: float, folder: Path) -> Run:
    time.sleep(SETTLE_S)
    before = sum(server.cpu_s() for server in servers)
    load = apply_load(work, port, duration_s=duration_s, folder=folder)
    used = sum(server.cpu_s() for server in servers) - before
    return Run(load, used * 1e6 / load.requests if servers and load.requests else None)


def _median(work: Work, name: str, runs: list[Run]) -> Row:
    cpus = [run.cpu_us_per_request for run in runs if run.cpu_us_per_request is not None]
    return Row(
        work=work.name,
        target=name,
        cpu_us_per_request=round(statistics.median(cpus), 2) if cpus else None,
        requests_per_s=round(statistics.median(run.load.requests_per_s for run in runs), 1),
        p50_us=round(statistics.median(run.load.p50_us for run in runs), 1),
        p99_us=round(statistics.median(run.load.p99_us for run in runs), 1),
        failed=sum(run.load.failed for run in runs),
        runs=len(runs),
    )
