"""``python -m benchmarks.hotswap``: 200 random edits of a mesh, compiled beforehand, published under load at 70 % of the machine's peak.

Three rows: one hop (a gateway), two (the gateway, mutual TLS, a sidecar), and two with Envoy as both engines. The peak is what wrk, which looks at
nothing, gets on the same connections of the same way just before. Then every reply of an open loop is looked at: its status, the snapshots that
its hops name, and the marks which those set (``judging``). WebSockets and gRPC streams on hosts that no edit touches stay open meanwhile.
With trio the two hops are then upgraded in place and have their workers killed, each under the same load.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.edits import APP, EDGE, FAR, NEAR, Edited
from benchmarks.judging import Marks
from benchmarks.load import wrk_result
from benchmarks.mesh import RunningMesh, free_ports
from benchmarks.paced import Seen
from benchmarks.processes import LOAD_CORE
from benchmarks.report import machine
from snapshot.index import Snapshot

CONNECTIONS = 64
STREAMS = 10
SHARE = 0.7
PEAK_S = 4
PACE_S = 0.25
AROUND_S = 1.0
"""How long the load runs before the first event and after the last."""


Happened = TypeVar("Happened")


class Way(msgspec.Struct, frozen=True):
    """What is loaded: a host, the hops that its replies pass, what serves them, and how far apart publications are.

    The more requests a core serves the less of it is left to prepare releases. Envoy has fewer of them, ``every`` so many: an Envoy of its own
    judges each, which takes half a second of a core."""

    name: str
    host: str
    hops: tuple[str, ...]
    engine: str = "trio"
    pace_s: float = PACE_S
    every: int = 1


WAYS = (
    Way("one", NEAR, (EDGE,), pace_s=2 * PACE_S),
    Way("two", FAR, (APP, EDGE)),
    Way("envoy", FAR, (APP, EDGE), "envoy", 8 * PACE_S, every=8),
)


class Event(msgspec.Struct, frozen=True):
    """An upgrade or a kill under load. ``failed`` requests got no reply or none of 200; ``late`` of them had been sent when the worker was gone
    and another connection had to be made anyway. ``seconds`` until the next worker served."""

    what: str
    requests: int
    failed: int
    late: int
    wrong: int
    seconds: float
    longest_ms: float


class Row(msgspec.Struct, frozen=True):
    """One way, measured. ``broken_streams`` are those that ended while releases were published."""

    way: str
    publishes: int
    peak_per_s: float
    load: Seen
    streams: int
    messages: int
    broken_streams: list[str]
    events: list[Event]

    @property
    def faults(self) -> int:
        """What may not be: while releases are published nothing, in an event what had been sent after a worker was gone."""
        load = self.load
        published = len(load.failed) + sum(map(len, load.refused.values())) + sum(load.wrong.values())
        late = sum(event.late + event.wrong for event in self.events)
        return published + len(self.broken_streams) + late


def main() -> int:
    """Measures and prints; exit 1 where a request failed or was mixed, or a stream broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hotswap", description=__doc__)
    parser.add_argument("--publishes", type=int, default=200, help="how many edits are published (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the edits (1)")
    parser.add_argument("--way", default="one,two,envoy", help="the rows, by commas (one,two,envoy)")
    parser.add_argument("--output", type=Path, default=Path("build") / "hotswap.json", help="the JSON file")
    options = parser.parse_args()
    rows = [measure(way, options.publishes, options.seed) for way in WAYS if way.name in options.way.split(",")]
    print(table(rows))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    written = {"rows": msgspec.to_builtins(rows), "machine": machine()}
    options.output.write_text(json.dumps(written, indent=2) + "\n")
    return 1 if any(row.faults for row in rows) else 0


def measure(way: Way, publishes: int, seed: int, *, events: bool = True) -> Row:
    """Runs everything on loopback; raises RuntimeError where something does not start."""
    ports = free_ports()
    publishes = max(1, publishes // way.every)
    edited = Edited(ports, seed, limits=way.engine == "trio")
    snapshots = [edited.snapshot(mark) for mark in range(publishes + 1)]
    marks = Marks(way.hops, tuple((one.digest, edited.marks(mark)) for mark, one in enumerate(snapshots)))
    with (
        tempfile.TemporaryDirectory(prefix="weft-hotswap-") as folder,
        RunningMesh(Path(folder), ports, snapshots[0], engine=way.engine, streams=STREAMS) as mesh,
    ):
        peak = _peak(mesh.port, way.host)
        load = Loading(mesh.port, way.host, peak * SHARE, marks)
        streams = mesh.streams()
        print(f"{way.name}: publishing under {peak * SHARE:.0f} requests/s, {SHARE:.0%} of {peak:.0f}", file=sys.stderr)
        seen, _ = load.during(partial(_publish, mesh, snapshots[1:], way.pace_s))
        streams.close()
        happened = _events(mesh, way.hops, load) if events and len(way.hops) > 1 and way.engine == "trio" else []
    return Row(way.name, publishes, round(peak), seen, 2 * STREAMS, streams.messages, streams.broken, happened)


def _peak(port: int, host: str) -> float:
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{PEAK_S}s", "--latency"]
    command += ["-H", f"Host: {host}", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    result = wrk_result(done.stdout)
    if result.failed:
        raise RuntimeError(f"requests failed while the peak was looked for:\n{done.stdout}")
    return result.requests_per_s


class Loading:
    """The same load again and again: so many requests a second on as many connections as the peak had."""

    def __init__(self, port: int, host: str, rate: float, marks: Marks) -> None:
        self._command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.paced"]
        self._command += [str(port), host, f"{rate:.1f}", "--connections", str(CONNECTIONS)]
        self._marks = msgspec.json.encode(marks) + b"\n"

    def during(self, what: Callable[[], Happened]) -> tuple[Seen, Happened]:
        """Loads while something happens, and a second before and after; raises RuntimeError where the load itself ends."""
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(self._marks)
            process.stdin.flush()
            try:
                time.sleep(AROUND_S)
                happened = what()
                time.sleep(AROUND_S)
                said, _ = process.communicate()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise RuntimeError(f"the load ended with {process.returncode}")
        return msgspec.json.decode(said, type=Seen), happened


def _publish(mesh: RunningMesh, snapshots: Sequence[Snapshot], pace_s: float) -> None:
    begin = time.monotonic()
    for number, snapshot in enumerate(snapshots):
        time.sleep(max(0.0, begin + number * pace_s - time.monotonic()))
        mesh.publish(snapshot)


def _events(mesh: RunningMesh, hops: Sequence[str], load: Loading) -> list[Event]:
    found = []
    for hop in hops:
        seen, took = load.during(partial(mesh.upgrade, hop))
        found.append(_event(f"upgrade of {hop}", seen, 0.0, took))
    for hop in hops:
        seen, (gone, again) = load.during(partial(mesh.kill_worker, hop))
        found.append(_event(f"worker of {hop} killed", seen, gone, again - gone))
    return found


def _event(what: str, seen: Seen, gone: float, seconds: float) -> Event:
    sent = [at for at, _ in seen.failed] + [at for times in seen.refused.values() for at in times]
    late = sum(at > gone for at in sent)
    return Event(what, seen.requests, len(sent), late, sum(seen.wrong.values()), round(seconds, 2), seen.longest_ms)


def table(rows: Sequence[Row]) -> str:
    """The rows as columns, and the events below."""
    lines: list[tuple[str, list[str]]] = [
        ("", [row.way for row in rows]),
        ("publishes", [f"{row.publishes}" for row in rows]),
        ("peak, requests/s", [f"{row.peak_per_s:.0f}" for row in rows]),
        ("load, requests/s", [f"{row.load.rate:.0f} ({row.load.rate / row.peak_per_s:.1%})" for row in rows]),
        ("requests, all looked at", [f"{row.load.requests}" for row in rows]),
        ("times that a hop named another", ["+".join(map(str, row.load.changes)) for row in rows]),
        ("without a whole reply", [f"{len(row.load.failed)}" for row in rows]),
        ("not answered 200", [f"{sum(map(len, row.load.refused.values()))}" for row in rows]),
        ("mixed, unknown or stale", [f"{sum(row.load.wrong.values())}" for row in rows]),
        ("p50, p99, longest in ms", [_times(row.load) for row in rows]),
        ("streams, messages", [f"{row.streams}, {row.messages}" for row in rows]),
        ("streams broken", [f"{len(row.broken_streams)}" for row in rows]),
    ]
    width = max(len(name) for name, _ in lines)
    shown = [f"{name:<{width}}" + "".join(f"  {value:>22}" for value in values) for name, values in lines]
    shown += [f"{row.way}: {event.what}: {_told(event)}" for row in rows for event in row.events]
    shown += [f"{row.way}: {problem}" for row in rows for problem in _problems(row)]
    return "\n".join([*shown, f"machine: {machine()}"])


def _times(seen: Seen) -> str:
    return f"{seen.p50_ms:.1f} {seen.p99_ms:.1f} {seen.longest_ms:.0f}"


def _told(event: Event) -> str:
    return (
        f"{event.failed} of {event.requests} requests failed, {event.late} of them sent afterwards, {event.wrong} wrong;"
        f" the next worker served after {event.seconds:.2f} s, longest answer {event.longest_ms:.0f} ms"
    )


def _problems(row: Row) -> list[str]:
    """What went wrong, in words; a few of each kind."""
    found = [*row.broken_streams[:3], *(why for _, why in row.load.failed[:3])]
    found += [f"{len(times)} answered {status}" for status, times in row.load.refused.items()]
    return found + [f"{count} {verdict}" for verdict, count in row.load.wrong.items()]


if __name__ == "__main__":
    sys.exit(main())
