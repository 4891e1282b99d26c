"""``python -m benchmarks.hotswap``: 200 random edits of a mesh, compiled beforehand, published under load at 70 % of the machine's peak.

Every reply is looked at: its status, the snapshot that it names, and two marks which that snapshot sets at different levels. A reply whose marks
are not those of the snapshot that it names was made from two. WebSockets and gRPC streams on hosts that no edit touches stay open meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.certificates import make_certificates
from benchmarks.edits import CALLS, CHAT, LOADED, NAME, Edited
from benchmarks.hop import Hop
from benchmarks.processes import LOAD_CORE, PROXY_CORE, Server, free_port
from benchmarks.report import machine
from benchmarks.slices import Publisher
from benchmarks.streams import Origins, Streams
from benchmarks.targets.nginx import start_origin
from snapshot.index import Snapshot

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
CONNECTIONS = 64
STREAMS = 10
SHARE = 0.7
PEAK_S = 4.0
PACE_S = 0.25

SCRIPT = """
local marks = {{ {marks} }}
local threads = {{}}
wrk.headers["Host"] = "{host}"
function setup(thread) table.insert(threads, thread) end
function init() refused = 0; mixed = 0; unknown = 0; seen = 0; last = "" end
{delay}
function response(status, headers)
  if status ~= 200 then refused = refused + 1 return end
  local stamp = headers["x-weft-snapshot"] or ""
  local mark = marks[string.sub(stamp, -12)]
  if mark == nil then unknown = unknown + 1
  elseif headers["x-mark-route"] ~= mark or headers["x-mark-destination"] ~= mark then mixed = mixed + 1 end
  if stamp ~= last then seen = seen + 1; last = stamp end
end
function done(summary)
  local said = {{ refused = 0, mixed = 0, unknown = 0, seen = 0 }}
  for _, thread in ipairs(threads) do for name, value in pairs(said) do said[name] = value + thread:get(name) end end
  for name, value in pairs(said) do io.write(string.format("count %s %d\\n", name, value)) end
end
"""


class Seen(msgspec.Struct, frozen=True):
    """What the load saw: ``refused`` replies were not 200, ``mixed`` came from two snapshots, ``unknown`` named one that was never published."""

    requests: int
    requests_per_s: float
    broken: int
    refused: int
    mixed: int
    unknown: int
    changes: int
    p99_ms: float


class Result(msgspec.Struct, frozen=True):
    """A whole run."""

    publishes: int
    peak_per_s: float
    load: Seen
    streams: int
    messages: int
    broken_streams: list[str]
    machine: str


def main() -> int:
    """Measures and prints; exit 1 where a request failed or was mixed, or a stream broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hotswap", description=__doc__)
    parser.add_argument("--publishes", type=int, default=200, help="how many edits are published (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the edits (1)")
    parser.add_argument("--output", type=Path, default=Path("build") / "hotswap.json", help="the JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weft-hotswap-") as name:
        result = measure(Path(name), options.publishes, options.seed)
    print(_table(result))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(msgspec.to_builtins(result), indent=2) + "\n")
    load = result.load
    return 1 if load.broken or load.refused or load.mixed or load.unknown or result.broken_streams else 0


def measure(folder: Path, publishes: int, seed: int) -> Result:
    """Runs everything on loopback; raises RuntimeError where something does not start."""
    ports = {name: free_port() for name in ("gateway", "load", "chat", "calls", "admin")}
    edited = Edited(ports, seed)
    print(f"compiling {publishes} edits", file=sys.stderr)
    snapshots = [edited.snapshot(mark) for mark in range(publishes + 1)]
    marks = {snapshot.digest[:12]: str(mark) for mark, snapshot in enumerate(snapshots)}
    publisher = Publisher(folder)
    publisher.publish(snapshots[0])
    origins = Origins(ports["chat"], ports["calls"], streams=STREAMS)
    origin = start_origin(Hop("origin", ports["load"], 0, make_certificates(folder)), folder)
    proxy = _proxy(folder, ports, publisher)
    try:
        origin.wait_port(ports["load"])
        proxy.wait_port(ports["gateway"])
        _give_cores(proxy)
        peak = _wrk(folder, ports["gateway"], marks, duration_s=PEAK_S, delay_ms=0).requests_per_s
        wanted = peak * SHARE
        delay_ms = _paced(folder, ports["gateway"], marks, wanted)
        streams = Streams(ports["gateway"], CHAT, CALLS, each=STREAMS)
        print(f"publishing under {wanted:.0f} requests/s, {SHARE:.0%} of {peak:.0f}", file=sys.stderr)
        load = _publish(folder, ports["gateway"], marks, delay_ms, publisher, snapshots[1:])
        streams.close()
    finally:
        for server in (proxy, origin):
            server.stop()
        origins.close()
    broken = streams.broken
    return Result(publishes, round(peak), load, 2 * STREAMS, streams.messages, broken, machine())


def _proxy(folder: Path, ports: dict[str, int], publisher: Publisher) -> Server:
    bootstrap = folder / "gateway.toml"
    bootstrap.write_text(
        f'store = "{publisher.path}"\nroot = "{publisher.root}"\nstate = "state"\nstamp = true\nworkers = 1\n'
        f'selector = {{name = "{NAME}", proxy = "ingress"}}\npoll_s = 0.05\n'
        f"ports = {{admin = {ports['admin']}, outbound = -1, metrics = -1, merged_metrics = -1, readiness = -1}}\n"
    )
    command = [*WEFT, "proxy", "ingress", "--bootstrap", str(bootstrap)]
    return Server(command, folder=folder, name="gateway", core=PROXY_CORE)


def _give_cores(proxy: Server) -> None:
    """The worker on the proxies' core alone, the supervisor wherever there is room."""
    supervisor, *workers = proxy.pids()
    os.sched_setaffinity(supervisor, {PROXY_CORE, LOAD_CORE})
    for worker in workers:
        os.sched_setaffinity(worker, {PROXY_CORE})


def _paced(folder: Path, port: int, marks: dict[str, str], wanted: float) -> float:
    """The pause between a connection's requests at which about ``wanted`` come in a second; found by trying twice."""
    delay_ms = CONNECTIONS / wanted * 1000
    for _ in range(2):
        found = _wrk(folder, port, marks, duration_s=2.0, delay_ms=delay_ms).requests_per_s
        delay_ms = max(0.0, delay_ms + (CONNECTIONS / wanted - CONNECTIONS / found) * 1000)
    return delay_ms


def _publish(
    folder: Path, port: int, marks: dict[str, str], delay_ms: float, publisher: Publisher, snapshots: list[Snapshot]
) -> Seen:
    """Publishes everything while the load runs, which then runs on for a second."""
    duration_s = len(snapshots) * PACE_S + 3
    load = _start_wrk(folder, port, marks, duration_s=duration_s, delay_ms=delay_ms)
    begin = time.monotonic() + 1
    for number, snapshot in enumerate(snapshots):
        time.sleep(max(0.0, begin + number * PACE_S - time.monotonic()))
        publisher.publish(snapshot)
    if load.poll() is not None:
        raise RuntimeError("the load ended before everything was published: the machine is too busy")
    return _seen(load.communicate()[0])


def _wrk(folder: Path, port: int, marks: dict[str, str], *, duration_s: float, delay_ms: float) -> Seen:
    return _seen(_start_wrk(folder, port, marks, duration_s=duration_s, delay_ms=delay_ms).communicate()[0])


def _start_wrk(
    folder: Path, port: int, marks: dict[str, str], *, duration_s: float, delay_ms: float
) -> subprocess.Popen[str]:
    script = folder / "look.lua"
    known = ", ".join(f'["{digest}"] = "{mark}"' for digest, mark in marks.items())
    # wrk waits whole milliseconds; what is between two of them is a share of requests that wait the longer one.
    whole, share = int(delay_ms), delay_ms - int(delay_ms)
    pause = f"function delay() return math.random() < {share:.3f} and {whole + 1} or {whole} end" if delay_ms else ""
    script.write_text(SCRIPT.format(marks=known, host=LOADED, delay=pause))
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{round(duration_s)}s",
        "--latency",
    ]
    command += ["-s", str(script), f"http://127.0.0.1:{port}/"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _seen(output: str) -> Seen:
    counts = {name: int(count) for name, count in re.findall(r"^count (\w+) (\d+)$", output, re.MULTILINE)}
    requests = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    slow = re.search(r"^\s+99%\s+([\d.]+)(us|ms|s)\s*$", output, re.MULTILINE)
    if not requests or not rate or not slow or not counts:
        raise RuntimeError(f"wrk said nothing useful:\n{output}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Seen(
        requests=int(requests.group(1)),
        requests_per_s=float(rate.group(1)),
        broken=sum(int(one) for one in errors.groups()) if errors else 0,
        refused=counts["refused"],
        mixed=counts["mixed"],
        unknown=counts["unknown"],
        changes=counts["seen"],
        p99_ms=float(slow.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[slow.group(2)],
    )


def _table(result: Result) -> str:
    load = result.load
    rows = (
        ("publishes", f"{result.publishes}"),
        ("peak of this machine", f"{result.peak_per_s:.0f} requests/s"),
        ("load", f"{load.requests_per_s:.0f} requests/s ({load.requests_per_s / result.peak_per_s:.0%})"),
        ("requests, all looked at", f"{load.requests}"),
        ("times that the named snapshot changed", f"{load.changes}"),
        ("connections broken", f"{load.broken}"),
        ("not answered 200", f"{load.refused}"),
        ("from two snapshots", f"{load.mixed}"),
        ("from none that was published", f"{load.unknown}"),
        ("p99", f"{load.p99_ms:.1f} ms"),
        ("streams, messages", f"{result.streams}, {result.messages}"),
        ("streams broken", f"{len(result.broken_streams)} {'; '.join(result.broken_streams[:3])}".rstrip()),
        ("machine", result.machine),
    )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
