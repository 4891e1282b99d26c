"""Both engines behind the kernel's redirection: the same pair of pods, the same calls, the same outcomes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snapshot.index import Snapshot
from tests.compiler.compiled import compiled
from tests.namespaces import Namespace, require_namespaces
from tests.pods import RULES, Lan, Sidecar, Store, call, serve

pytestmark = pytest.mark.integration

CLIENT, SERVER, OUTSIDE = "10.1.0.2", "10.1.0.3", "10.1.0.9"
CLIENT6, SERVER6, OUTSIDE6 = "fd00:1::2", "fd00:1::3", "fd00:1::9"
ELSEWHERE, ELSEWHERE6 = "192.0.2.9", "2001:db8::9"
CALLS = 160
SEED = 5
MESH = f"""
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: shop, labels: {{app: client}}}}
spec: {{containers: [{{name: a, image: a}}]}}
status: {{podIP: {CLIENT}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: server, namespace: shop, labels: {{app: server}}}}
spec: {{containers: [{{name: a, image: a}}]}}
status: {{podIP: {SERVER}}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: shop}}
spec:
  selector: {{app: server}}
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  clusterIP: 10.96.0.10
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
  - {{name: http-pod, port: 81, targetPort: 8081}}
  - {{name: http-loopback, port: 82, targetPort: 8082}}
  - {{name: http-strict, port: 83, targetPort: 8083}}
  - {{name: tcp-first, port: 90, targetPort: 9000}}
  - {{name: any, port: 91, targetPort: 9001}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  mtls: {{mode: PERMISSIVE}}
  portLevelMtls: {{8083: {{mode: STRICT}}, 7003: {{mode: STRICT}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: deny, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  action: DENY
  rules:
  - to: [{{operation: {{paths: ["/denied"], ports: ["8080", "8081", "8082", "7001"]}}}}]
  - to: [{{operation: {{ports: ["7002"]}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server, namespace: shop}}
spec:
  hosts: [server]
  http:
  - match: [{{uri: {{prefix: /old}}, port: 80}}]
    rewrite: {{uri: /new}}
    route: [{{destination: {{host: server, port: {{number: 80}}}}, headers: {{request: {{add: {{x-added: "1"}}}}}}}}]
  - match: [{{port: 80}}]
    route: [{{destination: {{host: server, port: {{number: 80}}}}}}]
  - match: [{{port: 81}}]
    route: [{{destination: {{host: server, port: {{number: 81}}}}}}]
  - match: [{{port: 82}}]
    route: [{{destination: {{host: server, port: {{number: 82}}}}}}]
  - match: [{{port: 83}}]
    route: [{{destination: {{host: server, port: {{number: 83}}}}}}]
  - match: [{{port: 91}}]
    route: [{{destination: {{host: server, port: {{number: 91}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside, namespace: shop}}
spec:
  hosts: [outside.test]
  addresses: [10.97.0.1]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 90, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: {OUTSIDE}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: block, namespace: shop}}
spec:
  hosts: [block.test]
  addresses: [10.98.0.0/16]
  location: MESH_EXTERNAL
  ports: [{{number: 90, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: {OUTSIDE}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: inner, namespace: shop}}
spec:
  hosts: [inner.test]
  addresses: [10.98.1.0/24]
  location: MESH_EXTERNAL
  ports: [{{number: 90, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: {OUTSIDE}, ports: {{tcp: 92}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: meant, namespace: shop}}
spec:
  hosts: [meant.test]
  addresses: [{ELSEWHERE}, "{ELSEWHERE6}"]
  location: MESH_EXTERNAL
  ports: [{{number: 91, name: tcp, protocol: TCP}}, {{number: 8000, name: http, protocol: HTTP}}]
  resolution: NONE
"""
CLOSED = """
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: m}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""
ANY, ANY6 = "0.0.0.0", "::"
SERVED = (
    *(("http", host, port, "app") for host in (ANY, ANY6) for port in (8080, 8083, 7001, 7002, 7003)),
    ("http", SERVER, 8081, "pod"),
    ("http", "127.0.0.1", 8082, "loopback"),
    *(("greet", host, port, "app") for host in (ANY, ANY6) for port in (9000, 7004)),
    ("echo", ANY, 9001, "app"),
)
FAR = (
    *(("http", host, port, f"far{port}") for host in (ANY, ANY6) for port in (80, 8000, 8001, 15001, 15006)),
    ("greet", ANY, 90, "far"),
    ("greet", ANY, 92, "inner"),
    ("echo", ANY, 91, "far"),
    ("greet", ANY, 93, "far"),
)
HOSTS = (
    "server",
    "server.shop",
    "server.shop.svc.cluster.local:80",
    "outside.test",
    "meant.test:8000",
    "10.96.0.10",
    "nobody.test",
)
PATHS = ("/", "/old/x", "/denied")
FROM_CLIENT = (
    *((host, port) for host in ("10.96.0.10", "fd00:96::10") for port in (80, 81, 82, 83, 90, 91, 99)),
    *((host, port) for host in (SERVER, SERVER6) for port in (8080, 8083, 7001, 7002, 7004, 9000, 15001, 15006)),
    *(("10.97.0.1", port) for port in (80, 90, 15001)),
    *((host, 90) for host in ("10.98.7.7", "10.98.1.7")),
    *((host, port) for host in (ELSEWHERE, ELSEWHERE6) for port in (80, 91, 93, 8000, 8001, 15001, 15006)),
    *((host, port) for host in (CLIENT, "127.0.0.1") for port in (15001, 15006)),
)
FROM_OUTSIDE = (
    *(
        (SERVER, port)
        for port in (8080, 8081, 8082, 8083, 7001, 7002, 7003, 7004, 9000, 9001, 7999, 15001, 15006, 15008)
    ),
    *((SERVER6, port) for port in (8080, 8083, 7001, 7003, 7004, 15006)),
    *((CLIENT, port) for port in (15001, 15006, 8080)),
)
KINDS = {90: "greet", 91: "echo", 92: "greet", 93: "greet", 9000: "greet", 9001: "echo", 7004: "greet"}


def generated(targets: tuple[tuple[str, int], ...], number: int, draw: random.Random) -> list[dict[str, Any]]:
    """Every target once in the way that is spoken there, and then as it comes."""
    chosen = [*targets, *draw.choices(targets, k=max(number - len(targets), 0))]
    calls: list[dict[str, Any]] = []
    for at, (host, port) in enumerate(chosen):
        kind = KINDS.get(port, "http")
        if at >= len(targets) and draw.random() < 0.2:
            # Envoy has one patience for all that comes in: who says nothing where HTTP must be said is not compared.
            kind = draw.choice(("http", "echo") if kind == "http" else ("http", "echo", "greet"))
        one: dict[str, Any] = {"kind": kind, "to": [host, port]}
        if kind == "http":
            plain = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            one |= {"host": draw.choice((*HOSTS, plain)), "path": draw.choice(PATHS), "headers": {"x-asked": str(at)}}
        calls.append(one)
    return calls


class World:
    """One engine's pair of pods and what stands outside of them. Owns the namespaces."""

    def __init__(self, folder: Path, engine: str) -> None:
        folder.mkdir()
        self.store = Store(folder)
        self._lan = Lan()
        via = (OUTSIDE, OUTSIDE6)
        self.client = self._lan.pod(f"{CLIENT}/24", f"{CLIENT6}/64", gateway=via)
        self.server = self._lan.pod(f"{SERVER}/24", f"{SERVER6}/64", gateway=via)
        self.outside = self._lan.pod(f"{OUTSIDE}/24", f"{OUTSIDE6}/64", f"{ELSEWHERE}/32", f"{ELSEWHERE6}/128")
        (folder / "rules.nft").write_text(RULES)
        for pod in (self.client, self.server):
            pod.run("nft", "-f", str(folder / "rules.nft"))
        serve(self.server, *SERVED)
        serve(self.outside, *FAR)
        self.store.publish(OPEN)
        pods = {"client": self.client, "server": self.server}
        self.sidecars = [Sidecar(pod, self.store, f"sidecar/shop/{name}", engine) for name, pod in pods.items()]

    def serving(self, snapshot: Snapshot) -> None:
        """Returns when both sidecars do."""
        for one in self.sidecars:
            one.wait_serving(snapshot)

    def end(self) -> None:
        """Ends everything."""
        self._lan.end()


OPEN = compiled(MESH).snapshot
SHUT = compiled(MESH, CLOSED).snapshot


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """A world for each engine, with the same addresses."""
    require_namespaces()
    folder = tmp_path_factory.mktemp("worlds")
    made: dict[str, World] = {}
    try:
        for engine in ("trio", "envoy"):
            made[engine] = World(folder / engine, engine)
        yield made
    finally:
        for world in made.values():
            world.end()


def compared(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be equal: each pair has certificates of its own."""
    text = re.sub(r"Hash=[0-9a-f]+", "Hash=", json.dumps(found))
    text = re.sub(r'HTTP/1.1 400 Bad Request[^"]*', "HTTP/1.1 400", text)
    same: list[dict[str, Any]] = json.loads(text)
    return same


def outcomes(pods: dict[str, Namespace], calls: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Any, Any]]:
    """The calls of which the engines make different things."""
    ours, theirs = (compared(call(pods[engine], calls)) for engine in ("trio", "envoy"))
    assert sum("status" in one or "got" in one for one in ours) > len(calls) // 3, "hardly anything is answered"
    return [(asked, one, other) for asked, one, other in zip(calls, ours, theirs, strict=True) if one != other]


@pytest.mark.parametrize("snapshot", [OPEN, SHUT], ids=["open", "closed"])
def test_both_engines_make_the_same_of_redirected_connections(worlds: dict[str, World], snapshot: Snapshot) -> None:
    for world in worlds.values():
        world.store.publish(snapshot)
    for world in worlds.values():
        world.serving(snapshot)
    draw = random.Random(SEED)
    clients = {engine: world.client for engine, world in worlds.items()}
    strangers = {engine: world.outside for engine, world in worlds.items()}
    assert outcomes(clients, generated(FROM_CLIENT, CALLS, draw)) == []
    assert outcomes(strangers, generated(FROM_OUTSIDE, CALLS, draw)) == []
