"""The mesh of ``edits.Edited``, running: a gateway, the sidecar behind it, what both ask, and the applications.

The proxies' workers share one core; the load, the applications, the control plane and who publishes share the other, the supervisors take
what is left of both.
"""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from benchmarks.certificates import make_certificates
from benchmarks.control import WEFT, Control
from benchmarks.edits import APP, CALLS, CHAT, EDGE, FAR, GATEWAY, NEAR, SIDECAR
from benchmarks.hop import Hop
from benchmarks.judging import STAMP
from benchmarks.processes import LOAD_CORE, PROXY_CORE, Server, free_port
from benchmarks.slices import Publisher
from benchmarks.streams import Origins, Streams
from benchmarks.targets.nginx import start_origin
from snapshot.index import Snapshot

START_S = 30.0
SIDECAR_ADDRESS = "127.0.0.2"
NAMES = ("gateway", "load", "chat", "calls")
_IDENTITY = "spiffe://cluster.local/ns/bench/sa/"


def free_ports() -> dict[str, int]:
    """Ports of the gateway and of the applications, which the sidecar has on its own address, too."""
    return {name: free_port() for name in NAMES}


class RunningMesh:
    """Everything started, until the block ends. ``proxies`` are the servers by workload; raises RuntimeError where one does not start."""

    def __init__(self, folder: Path, ports: dict[str, int], first: Snapshot, *, engine: str, streams: int) -> None:
        self.port = ports["gateway"]
        self.engine = engine
        self.proxies: dict[str, Server] = {}
        self._folder = folder
        self._ports = ports
        self._first = first
        self._streams = streams
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Starts, and waits until both hosts are answered by all hops."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process."""
        self._stack.close()

    def publish(self, snapshot: Snapshot) -> None:
        """The next release, for both proxies."""
        self._publisher.publish(snapshot)

    def streams(self) -> Streams:
        """WebSockets and calls through both hops."""
        return Streams(self.port, CHAT, CALLS, each=self._streams)

    def workers(self, name: str) -> list[int]:
        """The processes that a proxy's supervisor started."""
        return [pid for pid in self.proxies[name].pids() if pid != self.proxies[name].process.pid]

    def give_cores(self) -> None:
        """Workers on the proxies' core alone, supervisors wherever there is room."""
        for name, proxy in self.proxies.items():
            os.sched_setaffinity(proxy.process.pid, {PROXY_CORE, LOAD_CORE})
            for worker in self.workers(name):
                os.sched_setaffinity(worker, {PROXY_CORE})

    def upgrade(self, name: str) -> float:
        """Upgrades a proxy in place; returns after how many seconds its old workers were gone."""
        old, begin = set(self.workers(name)), time.monotonic()
        self.proxies[name].process.send_signal(signal.SIGUSR2)
        self._until(lambda: self.workers(name) and old.isdisjoint(self.workers(name)), f"{name} is not upgraded")
        self.give_cores()
        return time.monotonic() - begin

    def kill_worker(self, name: str) -> tuple[float, float]:
        """Kills a proxy's worker; returns when it was gone, and when another served, in monotonic seconds."""
        (victim,) = self.workers(name)
        os.kill(victim, signal.SIGKILL)
        self._until(lambda: victim not in self.workers(name), f"the worker of {name} does not end")
        gone = time.monotonic()
        self._until(lambda: self.workers(name), f"{name} has no worker")
        self.give_cores()
        self._until(lambda: self.answered(FAR) == [APP, EDGE], f"{name} does not serve again")
        return gone, time.monotonic()

    def answered(self, host: str) -> list[str]:
        """The hops that a host's reply names, [] where it is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/", headers={"host": host})
            reply = connection.getresponse()
            named = reply.headers.get_all(STAMP) or []
            return [one.partition("=")[0] for one in named] if reply.status == 200 else []
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()

    def _start(self) -> None:
        folder, ports, stack = self._folder, self._ports, self._stack
        self._publisher = Publisher(folder)
        self.publish(self._first)
        origins = Origins(ports["chat"], ports["calls"], streams=self._streams)
        stack.callback(origins.close)
        origin = start_origin(Hop("origin", ports["load"], 0, make_certificates(folder)), folder)
        stack.callback(origin.stop)
        control = Control(folder, "cluster.local", store=self._publisher.path)
        stack.callback(control.stop)
        for name, slice_, kind, address in (
            (APP, SIDECAR, "sidecar", SIDECAR_ADDRESS),
            (EDGE, GATEWAY, "ingress", "127.0.0.1"),
        ):
            self.proxies[name] = proxy = self._proxy(name, slice_, kind, address, control)
            stack.callback(proxy.stop)
        for host, hops in ((NEAR, [EDGE]), (FAR, [APP, EDGE])):
            self._until(partial(self._answered_by, host, hops), f"{host} is not answered by {hops}")
        self.give_cores()

    def _proxy(self, name: str, slice_: str, kind: str, address: str, control: Control) -> Server:
        home = self._folder / name
        home.mkdir()
        lines = [
            f'store = "{self._publisher.path}"',
            f'root = "{self._publisher.root}"',
            'state = "state"',
            f'address = "{address}"',
            "stamp = true",
            "poll_s = 0.05",
            f'engine = "{self.engine}"',
            *control.admit(_IDENTITY + name, home),
            f'selector = {{name = "{slice_}", proxy = "{kind}", namespace = "bench", labels = [["app", "{name}"]]}}',
            "ports = {admin = 0, outbound = -1, metrics = -1, merged_metrics = -1, readiness = -1}",
        ]
        (home / "bootstrap.toml").write_text("\n".join(lines) + "\n")
        command = [*WEFT, "proxy", kind, "--bootstrap", str(home / "bootstrap.toml")]
        return Server(command, folder=self._folder, name=f"proxy-{name}", core=PROXY_CORE)

    def _answered_by(self, host: str, hops: list[str]) -> bool:
        return self.answered(host) == hops

    def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(proxy.log.read_text(errors="replace")[-1500:] for proxy in self.proxies.values())
                raise RuntimeError(f"{otherwise} after {START_S:g} s:\n{logs}")
            time.sleep(0.02)
