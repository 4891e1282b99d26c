"""``python -m benchmarks.watchers``: how long from a publication to live, with many proxies that watch one control plane.

A real ``weft control`` process; the proxies' fetchers (``benchmarks.followers``: long poll over TLS, both verifiers, the state on disk) as
tasks of a few processes, because a hundred whole proxies do not fit two cores. The mesh is compiled beforehand and its blobs are in the
store: one service per proxy, and every release changes a VirtualService that all of them see. The clock starts when the publisher begins
to replace the timestamp, over HTTP, and stops, per proxy, when its slice of that release is verified and assembled.
"""

from __future__ import annotations

import datetime as dt
import os
import queue
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click
import msgspec

from benchmarks.processes import LOAD_CORE, PROXY_CORE, Server, cpu_of, free_port
from benchmarks.repositories import service_file, write_repository
from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree
from runtime.control import state
from snapshot.blobs import put_blob
from snapshot.encode import encode
from snapshot.index import Snapshot
from snapshot.store_directory import DirectoryStore
from snapshot.store_http import HttpStore
from snapshot.trust.keys import create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from snapshot.trust.publisher import publish_release, read_published
from snapshot.trust.release import Release

LIVE_S = 30.0
PACE_S = 2.5
"""A pause between publications, in which the proxies write their states: what is measured is a publication, not a queue of them."""

WEFT = (sys.executable, "-m", "weft")
CHANNEL = "stable"


class Result(msgspec.Struct, frozen=True):
    """Milliseconds, over all proxies and publications; ``cpu_ms`` is that of one publication, of the control plane and of all fetchers."""

    proxies: int
    publishes: int
    publish_ms: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    control_cpu_ms: float
    fetchers_cpu_ms: float


def measure(proxies: int, publishes: int, *, processes: int, folder: Path) -> Result:
    """Publishes and waits for all proxies each time; raises RuntimeError where one does not get there."""
    snapshots = _compiled(folder / "mesh", proxies, publishes + 1)
    store = DirectoryStore(folder / "store")
    for name, raw in {digest: raw for one in snapshots for digest, raw in one.blobs.items()}.items():
        put_blob(store, name, raw)
    for snapshot in snapshots:
        put_blob(store, snapshot.digest, encode(snapshot.index))
    with ExitStack() as stack:
        control, publisher = stack.enter_context(_control(folder))
        publisher.publish(snapshots[0])
        names = [entry.name for entry in snapshots[0].index.slices]
        fetchers = stack.enter_context(_fetchers(publisher.url, folder, names, processes))
        fetchers.wait_all(1)
        live_ms: list[float] = []
        took_ms: list[float] = []
        begin_cpu_s = control.cpu_s(), fetchers.cpu_s()
        for version, snapshot in enumerate(snapshots[1:], 2):
            time.sleep(PACE_S)
            begin = time.monotonic()
            publisher.publish(snapshot)
            took_ms.append((time.monotonic() - begin) * 1000)
            live_ms += [(at - publisher.replaced_at) * 1000 for at in fetchers.wait_all(version).values()]
        cpu_s = control.cpu_s() - begin_cpu_s[0], fetchers.cpu_s() - begin_cpu_s[1]
    live_ms.sort()
    return Result(
        proxies,
        publishes,
        publish_ms=statistics.median(took_ms),
        p50_ms=statistics.median(live_ms),
        p99_ms=live_ms[int(len(live_ms) * 0.99)],
        longest_ms=live_ms[-1],
        control_cpu_ms=cpu_s[0] * 1000 / publishes,
        fetchers_cpu_ms=cpu_s[1] * 1000 / publishes,
    )


class _Publisher(HttpStore):
    """Publishes over HTTP. ``replaced_at`` is when it began to replace the timestamp last (monotonic seconds)."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, ca=str(folder / "bundle.pem"), token=(folder / "token").read_text())
        self.replaced_at = 0.0
        self._keys = load_keys(folder / "keys", PUBLISHER_ROLES)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        """As HttpStore does; the moment is kept."""
        self.replaced_at = time.monotonic()
        return super().replace(name, content, expected=expected)

    def publish(self, snapshot: Snapshot) -> Release:
        """Publishes the next release; its blobs are in the store."""
        draft = Release(
            channel=CHANNEL,
            commit="0" * 40,
            snapshot=snapshot.digest,
            tree="benchmark",
            compiler="",
            time=int(time.time()),
        )
        base = read_published(self, self._keys.root, CHANNEL)
        return publish_release(self, self._keys, draft, published=base, now=dt.datetime.now(dt.UTC))


class _Fetchers:
    """Owns the processes' output: the release that each proxy reached last, and when."""

    def __init__(self, processes: list[subprocess.Popen[str]], names: list[str]) -> None:
        self._processes = processes
        self._names = set(names)
        self._lines: queue.Queue[str] = queue.Queue()
        for process in processes:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def wait_all(self, version: int) -> dict[str, float]:
        """When each proxy had a release, by its name, in monotonic seconds. Raises RuntimeError where one has not after LIVE_S."""
        reached: dict[str, float] = {}
        deadline = time.monotonic() + LIVE_S
        while reached.keys() != self._names:
            try:
                name, release, at = self._lines.get(timeout=max(deadline - time.monotonic(), 0)).split()
            except queue.Empty:
                lacking = len(self._names - reached.keys())
                raise RuntimeError(f"{lacking} proxies did not reach release {version} in {LIVE_S:g} s") from None
            if int(release) == version:
                reached[name] = float(at)
        return reached

    def cpu_s(self) -> float:
        """User and system time of all processes."""
        return sum(cpu_of(process.pid) for process in self._processes)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)


@contextmanager
def _control(folder: Path) -> Iterator[tuple[Server, _Publisher]]:
    create_keys(folder / "keys", now=dt.datetime.now(dt.UTC))
    (folder / "token").write_text(secrets.token_hex(8))
    (folder / "token").chmod(0o600)
    port, home = free_port(), folder / "control"
    command = [*WEFT, "control", "--state", str(home), "--store", str(folder / "store"), "--monitoring", "127.0.0.1:0"]
    command += ["--listen", f"127.0.0.1:{port}", "--publish-token", str(folder / "token")]
    server = Server(command, folder=folder, name="control", core=LOAD_CORE)
    try:
        server.wait_port(port)
        os.sched_setaffinity(server.process.pid, {PROXY_CORE, LOAD_CORE})
        opened = state.open_existing(home, now=time.time())
        (folder / "bundle.pem").write_bytes(opened.authority.bundle)
        opened.ledger.close()
        with closing(_Publisher(f"https://127.0.0.1:{port}/store", folder)) as publisher:
            yield server, publisher
    finally:
        server.stop()


@contextmanager
def _fetchers(url: str, folder: Path, names: list[str], processes: int) -> Iterator[_Fetchers]:
    given = [url, str(folder / "bundle.pem"), str(folder / "keys" / "root.json"), str(folder)]
    with ExitStack() as stack:
        started = []
        for number in range(processes):
            command = [sys.executable, "-m", "benchmarks.followers", *given, *names[number::processes]]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            started.append(process)
        yield _Fetchers(started, names)


def _compiled(folder: Path, services: int, releases: int) -> list[Snapshot]:
    """The mesh of each release. Nothing in it is private to a namespace, so that each sees every change."""
    write_repository(folder, services)
    for path in folder.rglob("*.yaml"):
        path.write_text(
            path.read_text().replace('exportTo: ["."]', 'exportTo: ["*"]').replace('exportTo: "."', 'exportTo: "*"')
        )
    changed = service_file(folder, 0)
    text = changed.read_text()
    snapshots = []
    for number in range(releases):
        changed.write_text(text.replace("timeout: 5s", f"timeout: {number + 1}s"))
        compilation = compile_tree(WorkTree(folder))
        assert compilation.snapshot is not None, compilation.diagnostics
        snapshots.append(compilation.snapshot)
    return snapshots


@click.command()
@click.option("--proxies", default=100, show_default=True, help="Proxies that watch.")
@click.option("--publishes", default=20, show_default=True, help="Publications that are measured.")
@click.option("--processes", default=4, show_default=True, help="Processes that the proxies' fetchers share.")
def main(proxies: int, publishes: int, processes: int) -> None:
    """Measure from publication to live with many proxies on one control plane."""
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="weft-watchers-") as folder:
        result = measure(proxies, publishes, processes=processes, folder=Path(folder))
    for name, value in msgspec.structs.asdict(result).items():
        print(f"{name:16} {value:10.1f}" if isinstance(value, float) else f"{name:16} {value:8}")


if __name__ == "__main__":
    main()
