"""The swap row: releases of a 10,000-route slice published under load; nothing may fail and the lane may not pause.

Every release changes every route, the worst case for sharing between generations. The load comes at a fixed rate below the proxy's peak, because a
closed loop would only show that one core is full. A release is live when a new request is answered with its mark.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

import msgspec

from benchmarks.certificates import Certificates
from benchmarks.hop import Hop
from benchmarks.load import h2load_result
from benchmarks.measure import require_reply
from benchmarks.processes import LOAD_CORE, PROXY_CORE, Server, free_port
from benchmarks.slices import sections_of, snapshot_of
from benchmarks.targets.nginx import start_origin
from benchmarks.targets.weft import Weft
from benchmarks.works import HOST, Work

WORK = Work("swap", "10,000 routes, each changed by every publish, under a steady load", routes=10_000)
SWAPS = 100
CONNECTIONS = 32
REQUESTS_PER_S = 2_000
LIVE_TIMEOUT_S = 10.0
PACE_S = 0.5
"""A publish every half second: what is measured is a swap, not a queue of them."""


class SwapResult(msgspec.Struct, frozen=True):
    """What publishing under load did. Times in milliseconds; two are measured inside the proxy, the rest outside.

    ``longest_pause_ms`` is by the clock on the wall, ``longest_work_ms`` the most CPU that the lane's thread itself used in one stretch.
    """

    swaps: int
    routes: int
    requests: int
    failed: int
    requests_per_s: float
    p99_us: float
    longest_pause_ms: float
    longest_work_ms: float
    live_p50_ms: float
    live_p99_ms: float


def measure_swaps(certificates: Certificates, folder: Path, *, swaps: int = SWAPS) -> SwapResult:
    """Publishes ``swaps`` releases under load, fewer where the load ended before; raises RuntimeError where one does not come live."""
    folder.mkdir(parents=True, exist_ok=True)
    origin_hop = Hop("origin", free_port(), 0, certificates)
    hop = Hop("weft-0", free_port(), origin_hop.port, certificates, routes=WORK.routes)
    weft = Weft()
    origin = start_origin(origin_hop, folder)
    try:
        origin.wait_port(origin_hop.port)
        proxy = weft.start(hop, folder)
        try:
            proxy.wait_port(hop.port)
            require_reply(WORK, hop.port, "weft")
            _give_worker_a_core(proxy)
            return _publish_under_load(hop, weft, folder, swaps)
        finally:
            proxy.stop()
    finally:
        origin.stop()


def _give_worker_a_core(proxy: Server) -> None:
    """The worker on the proxies' core, the supervisor wherever there is room: what is asked is how long preparing holds the lane."""
    _, *workers = proxy.pids()
    os.sched_setaffinity(proxy.process.pid, {PROXY_CORE, LOAD_CORE})
    for worker in workers:
        os.sched_setaffinity(worker, {PROXY_CORE})
        for thread in Path(f"/proc/{worker}/task").iterdir():
            with contextlib.suppress(PermissionError):
                # Where we may: a neighbour's slice of the core would be counted as the lane's pause.
                os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(1))


def _publish_under_load(hop: Hop, weft: Weft, folder: Path, swaps: int) -> SwapResult:
    publisher = weft.publishers[hop.name]
    # Made beforehand: compiling is not what is measured.
    snapshots = [snapshot_of(sections_of(hop, mark=f"mark-{number}")) for number in range(swaps)]
    log = folder / "h2load.log"
    load = _start_load(hop.port, swaps * PACE_S, log)
    live_ms = []
    for number, snapshot in enumerate(snapshots):
        if load.poll() is not None:
            # A busy machine publishes slower than planned. What is counted is what happened under load.
            break
        begin = time.monotonic()
        publisher.publish(snapshot)
        published = time.monotonic()
        _wait_mark(hop.port, f"mark-{number}")
        live_ms.append((time.monotonic() - published) * 1000)
        time.sleep(max(0.0, PACE_S - (time.monotonic() - begin)))
    output, _ = load.communicate(timeout=600)
    result = h2load_result(output, log)
    live_ms.sort()
    return SwapResult(
        swaps=len(live_ms),
        routes=hop.routes,
        requests=result.requests,
        failed=result.failed,
        requests_per_s=result.requests_per_s,
        p99_us=result.p99_us,
        longest_pause_ms=_longest_ms(weft.admin[hop.name], "weft_lane_pause_seconds"),
        longest_work_ms=_longest_ms(weft.admin[hop.name], "weft_lane_work_seconds"),
        live_p50_ms=round(statistics.median(live_ms), 1),
        live_p99_ms=round(live_ms[min(len(live_ms) - 1, int(len(live_ms) * 0.99))], 1),
    )


def _start_load(port: int, least_s: float, log: Path) -> subprocess.Popen[str]:
    # Room for publishes that take longer than their pace; what is too long is only more load.
    duration_s = round(least_s * 1.6) + 5
    command = ["taskset", "-c", str(LOAD_CORE), "h2load", "--h1", f"-c{CONNECTIONS}", f"-D{duration_s}", "-t1"]
    command += [f"--rps={REQUESTS_PER_S / CONNECTIONS:g}", f"--log-file={log}"]
    command.append(f"http://127.0.0.1:{port}{WORK.path}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait_mark(port: int, mark: str) -> None:
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIVE_TIMEOUT_S)
    try:
        while time.monotonic() < deadline:
            connection.request("GET", WORK.path, headers={"Host": HOST})
            reply = connection.getresponse()
            reply.read()
            if reply.headers.get("x-mark") == mark:
                return
            time.sleep(0.005)
    finally:
        connection.close()
    raise RuntimeError(f"{mark} was published and is not live after {LIVE_TIMEOUT_S:g} s")


def _longest_ms(admin: int, metric: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    try:
        connection.request("GET", "/stats/prometheus")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = [float(value) for value in re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)]
    if not found:
        raise RuntimeError(f"the proxy does not report {metric}")
    return round(max(found) * 1000, 2)
