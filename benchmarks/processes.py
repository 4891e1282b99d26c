"""Starts servers on one core each, waits until they answer, measures their CPU time, stops them by process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PROXY_CORE = 0
LOAD_CORE = 1
START_TIMEOUT_S = 20.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class Server:
    """One started server, pinned to a core, with everything that it forks. Its output goes to ``<folder>/<name>.log``."""

    def __init__(self, command: Sequence[str], *, folder: Path, name: str, core: int) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(command),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                start_new_session=True,
            )

    def wait_port(self, port: int) -> None:
        """Waits until something accepts on a loopback port; raises RuntimeError with the server's output where it does not."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        tail = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.log.stem} does not accept on port {port}:\n{tail}")

    def cpu_s(self) -> float:
        """User and system time of the process and all its descendants that live, with what reaped children used."""
        return sum(cpu_of(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        """The process and its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, pending = [], [self.process.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            pending += children.get(pid, [])
        return found

    def stop(self) -> None:
        """Ends the process group that this server began."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                continue
            return


def cpu_of(pid: int) -> float:
    """User and system time of one process, with what its reaped children used; 0 where it is gone."""
    return _ticks(pid) * _TICK_S


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the command's name (proc(5): state is first), or None where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    # utime, stime, cutime, cstime are fields 14 to 17 of proc(5), counted from 1 with the pid and the name.
    return sum(int(field) for field in fields[11:15]) if fields else 0
