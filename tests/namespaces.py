"""Network namespaces for tests: pods with a wire between them, whose kernels really redirect."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


class Namespace:
    """A network namespace, held by a process that sleeps. Owns what was started in it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        self.started = [self._holder]
        self.pid = self._holder.pid
        deadline = time.monotonic() + 5
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.pid}/ns/net").readlink() == own:
            assert time.monotonic() < deadline, "no namespace"
            time.sleep(0.01)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str, check: bool = True) -> str:
        entered = ["nsenter", "-t", str(self.pid), "-n", *command]
        done = subprocess.run(entered, capture_output=True, text=True, check=False, timeout=20, env=ENVIRONMENT)
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def start(self, *command: str, log: Path | None = None) -> None:
        entered = ["nsenter", "-t", str(self.pid), "-n", *command]
        with (log or Path(os.devnull)).open("wb") as out:
            self.started.append(subprocess.Popen(entered, stderr=out, cwd=ROOT, env=ENVIRONMENT))

    def end(self) -> None:
        for process in reversed(self.started):
            process.kill()
            process.wait()


def why_not() -> str:
    """Why this machine cannot redirect, "" where it can."""
    for tool in ("nft", "ip", "nsenter", "unshare", "setpriv", "curl"):
        if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None:
            return f"{tool} is not installed"
    if os.geteuid():
        return "network namespaces need root here"
    probe = [
        "unshare",
        "-n",
        "sh",
        "-c",
        "nft add table inet probe && nft add chain inet probe c '{ type nat hook output priority 0; }'",
    ]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    return f"the kernel has no nat for nft: {done.stderr.strip().splitlines()[0]}" if done.returncode else ""


def require_namespaces() -> None:
    """Skips the test where this machine cannot redirect; fails it where it should be able to."""
    missing = why_not()
    if missing:
        if os.environ.get("WEFT_REQUIRE_ALL") == "1" and "installed" in missing:
            pytest.fail(missing)
        pytest.skip(missing)


def wire(one: Namespace, address: str, other: Namespace, other_address: str) -> None:
    """A wire between two namespaces, each end with its address (of a /24); the first sends what is for others to the second."""
    one.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
    for namespace, given in ((one, address), (other, other_address)):
        namespace.run("ip", "addr", "add", f"{given}/24", "dev", "eth0")
        namespace.run("ip", "link", "set", "eth0", "up")
    one.run("ip", "route", "add", "default", "via", other_address)
