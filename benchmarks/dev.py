"""``python -m benchmarks.dev``: how long from a save to live in ``weft dev``, seen by a client of the ingress.

A mesh of 50 services, one of them a real process behind its sidecar, and an ingress. Each round saves one changed VirtualService and asks the
ingress until it answers with the new mark. The first answer counts, so what the client measures includes its own polling (a few milliseconds).
"""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.repositories import write_repository

ROOT = Path(__file__).parents[1]
SERVICES, ROUNDS = 50, 40
HOST = "shop.example"
EDITED = "mesh/edge-route.yaml"
LIVE_S = 20.0
POLL_S = 0.005
WAIT_S = 60.0

EDGE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: edge
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: gateway
  namespace: edge
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: gateway
  namespace: edge
spec:
  selector:
    matchLabels:
      istio: ingressgateway
  template:
    metadata:
      labels:
        istio: ingressgateway
    spec:
      serviceAccountName: gateway
      containers:
        - name: proxy
          image: registry.example/weft:1
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: edge
spec:
  selector:
    istio: ingressgateway
  servers:
    - port:
        number: 8080
        name: http
        protocol: HTTP
      hosts:
        - shop.example
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: shop
  namespace: edge
---
apiVersion: v1
kind: Service
metadata:
  name: shop
  namespace: edge
spec:
  selector:
    app: shop
  ports:
    - name: http
      port: 9080
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: edge
spec:
  selector:
    matchLabels:
      app: shop
  template:
    metadata:
      labels:
        app: shop
        version: v1
    spec:
      serviceAccountName: shop
      containers:
        - name: shop
          image: registry.example/shop:1
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: shop
  namespace: edge
spec:
  hosts:
    - shop.example
  gateways:
    - edge/edge
  http:
    - route:
        - destination:
            host: shop
            port:
              number: 9080
      headers:
        response:
          set:
            x-mark: "{mark}"
"""


def write_home(folder: Path, *, services: int, network: str) -> None:
    """Writes a mesh of so many services, an edge with an ingress and a shop, and the file that starts the shop."""
    write_repository(folder / "mesh", services)
    (folder / "mesh" / "edge.yaml").write_text(EDGE, "utf-8")
    (folder / EDITED).write_text(ROUTE.format(mark="first"), "utf-8")
    command = [sys.executable, str(ROOT / "examples" / "bookshop" / "app.py"), "catalogue", "--listen", "{host}:{port}"]
    lines = [
        'mesh = "mesh"',
        f'network = "{network}"',
        "[process.shop]",
        'workload = "edge/shop"',
        f"command = {command}",
    ]
    (folder / "weft-dev.toml").write_text("\n".join(lines).replace("'", '"') + "\n", "utf-8")


class DevRun:
    """Owns one ``weft dev`` below ``folder``; its output is in ``log`` and its temporary files are in ``temporary``."""

    def __init__(self, folder: Path, *, network: str) -> None:
        self.ingress = f"{network}.1.2", 8080
        self._client = http.client.HTTPConnection(*self.ingress, timeout=2)
        self.log = folder / "dev.log"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "weft", "dev", str(folder)],
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"},
            )

    def told(self) -> list[str]:
        """What it said of saves so far: live, same or broken, in order."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line[9:] for line in lines if line[9:].startswith(("live:", "same:", "broken:"))]

    def mark(self) -> str:
        """The mark that the ingress answers with, "" where it does not answer 200."""
        try:
            self._client.request("GET", "/books", headers={"Host": HOST})
            reply = self._client.getresponse()
            reply.read()
            return (reply.getheader("x-mark") or "") if reply.status == 200 else ""
        except (OSError, http.client.HTTPException):
            self._client.close()
            return ""

    def wait(self, condition: Callable[[], bool], what: str, *, limit_s: float = WAIT_S) -> None:
        """Asks until it holds; raises RuntimeError with the end of the log."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{what}:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(POLL_S)

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        self._client.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def measure(folder: Path, *, services: int = SERVICES, rounds: int = ROUNDS, network: str = "127.50") -> list[float]:
    """Milliseconds from each save to the first answer that shows it."""
    write_home(folder, services=services, network=network)
    run = DevRun(folder, network=network)
    try:
        run.wait(lambda: run.mark() == "first", "the mesh did not come up")
        took = []
        for number in range(rounds):
            mark = f"mark-{number}"
            begin = time.monotonic()
            (folder / EDITED).write_text(ROUTE.format(mark=mark), "utf-8")
            run.wait(lambda mark=mark: run.mark() == mark, f"{mark} did not come live", limit_s=LIVE_S)
            took.append((time.monotonic() - begin) * 1000)
            run.wait(lambda number=number: len(run.told()) >= number + 2, "it was not said")
        return took
    finally:
        run.stop()


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        took = sorted(measure(Path(folder)))
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    print(f"weft dev: save -> live in a mesh of {SERVICES} services, one VirtualService changed, {len(took)} times:")
    print(f"p50 {statistics.median(took):.0f} ms, p99 {p99:.0f} ms, longest {took[-1]:.0f} ms")


if __name__ == "__main__":
    main()
