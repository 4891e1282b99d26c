"""Istio's traffic cases that need the kernel's redirection: two pods with sidecars, and one outside, in network namespaces of their own.

The application beside ``b`` listens on port 80 (18080) at every address of its pod, on 82 (18082) at the pod's own and on 84 (18084) on loopback.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509

from compiler.diagnostic import Severity
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot
from tests.conformance.go_template import evaluate
from tests.namespaces import why_not
from tests.pods import RULES, Lan, Sidecar, Store, call, serve

GROUPS = frozenset({"instanceIPTests", "trafficLoopCases", "testServiceEntryWithMultipleVIPsAndResolutionNone"})
A, B, OUTSIDE = "10.1.0.2", "10.1.0.3", "10.1.0.9"
SERVICE = "10.96.0.3"
ADDRESSES = ("10.97.0.1", "10.97.0.2")
"""Of the service with several, which a program outside really has."""

MESH = f"""
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: default, labels: {{app: a}}}}
spec: {{containers: [{{name: app, image: app}}]}}
status: {{podIP: {A}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: b, namespace: default, labels: {{app: b}}}}
spec: {{containers: [{{name: app, image: app}}]}}
status: {{podIP: {B}}}
---
apiVersion: v1
kind: Service
metadata: {{name: b, namespace: default}}
spec:
  selector: {{app: b}}
  clusterIP: {SERVICE}
  ports:
  - {{name: http, port: 80, targetPort: 18080}}
  - {{name: http-instance, port: 82, targetPort: 18082}}
  - {{name: http-localhost, port: 84, targetPort: 18084}}
"""


class Pods:
    """The pods, with what is started in them. ``missing`` says why there are none here, "" where there are."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.missing = why_not()
        self._lan: Lan | None = None
        if not self.missing:
            self._start(folder, engine)

    def _start(self, folder: Path, engine: str) -> None:
        self._lan = lan = Lan()
        self._a, b = (lan.pod(f"{one}/24", gateway=[OUTSIDE]) for one in (A, B))
        outside = lan.pod(f"{OUTSIDE}/24", *(f"{one}/32" for one in ADDRESSES))
        (folder / "rules.nft").write_text(RULES)
        for pod in (self._a, b):
            pod.run("nft", "-f", str(folder / "rules.nft"))
        serve(b, ("http", "0.0.0.0", 18080, "b"), ("http", B, 18082, "b"), ("http", "127.0.0.1", 18084, "b"))
        self._store = Store(folder)
        chain, key = self._store.authority.issue(x509.DNSName("server.default.svc"))
        (folder / "server.pem").write_bytes(key + chain)
        serve(outside, *(("https", one, 443, str(folder / "server.pem")) for one in ADDRESSES))
        self._store.publish(_compiled(""))
        pods = {"a": self._a, "b": b}
        self._sidecars = [Sidecar(pod, self._store, f"sidecar/default/{name}", engine) for name, pod in pods.items()]

    def judge(self, case: dict[str, Any]) -> str | None:
        """What is wrong with a case, None where nothing is."""
        try:
            snapshot = _compiled(evaluate(case.get("config") or "", {"Namespace": "default", "IPs": list(ADDRESSES)}))
        except ValueError as error:
            return f"does not compile: {error}"
        self._store.publish(snapshot)
        for one in self._sidecars:
            one.wait_serving(snapshot)
        calls = _calls(case)
        return next(
            (
                problem
                for one, made in zip(calls, call(self._a, calls), strict=True)
                if (problem := _wrong(case, one, made))
            ),
            None,
        )

    def end(self) -> None:
        """Ends everything that was started."""
        if self._lan is not None:
            self._lan.end()


@contextmanager
def pods(engine: str = "trio") -> Iterator[Pods]:
    """The pods for the duration of a block."""
    with tempfile.TemporaryDirectory() as folder:
        made = Pods(Path(folder), engine)
        try:
            yield made
        finally:
            made.end()


def _compiled(config: str) -> Snapshot:
    """The mesh with a case's own documents; raises ValueError where they do not compile."""
    found = compile_tree(MemoryTree({"mesh.yaml": MESH.encode(), "case.yaml": config.encode()}), allow_partial=True)
    if found.snapshot is None or any(one.code == "WFT0200" for one in found.diagnostics):
        told = [one.message for one in found.diagnostics if one.severity is Severity.ERROR or one.code == "WFT0200"]
        raise ValueError("; ".join(told) or "nothing compiles")
    return found.snapshot


def _calls(case: dict[str, Any]) -> list[dict[str, Any]]:
    port = case["opts"]["Port"]["ServicePort"]
    match case["group"]:
        case "trafficLoopCases":
            return [{"kind": "http", "to": [B, port], "host": "b"}]
        case "instanceIPTests":
            return [{"kind": "http", "to": [SERVICE, port], "host": "b"}]
        case _:
            return [{"kind": "https", "to": [one, port], "host": "server.default.svc"} for one in ADDRESSES]


def _wrong(case: dict[str, Any], asked: dict[str, Any], made: dict[str, Any]) -> str | None:
    check = case["opts"]["Check"]
    wanted = {"error": "closed"} if check["$check"] == "Error" else {"status": check["args"][0]}
    same = all(made.get(name) == value for name, value in wanted.items())
    return None if same else f"{asked['to']}: wanted {wanted}, got {made}"
