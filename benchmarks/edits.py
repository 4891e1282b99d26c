"""A mesh that is edited at random, many times, the same way every time: what is published while proxies are under load.

One gateway has 200 hosts; behind it is one service whose workload has a sidecar, reached by mutual TLS, and the same application without one.
Every edit marks what a reply of either hop says, at two places each, so that a reply which one hop made from two snapshots shows; and changes
a few other things: routes, weights, edits of headers, time-outs, whole VirtualServices, policies of both proxies. Two hosts are never touched.
"""

from __future__ import annotations

from random import Random

from compiler.memory import Memory
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot

HOSTS = 200
CHANGES = 6
"""How many of the other hosts one edit changes."""

NEAR, FAR, CHAT, CALLS = "near.test", "far.test", "chat.test", "calls.test"
"""Under load: behind the gateway alone, and behind a sidecar, too. Never touched: WebSockets and calls, both behind the sidecar."""
GATEWAY, SIDECAR = "gateway/bench/edge", "sidecar/bench/app"
EDGE, APP = "edge", "app"
"""The workloads, as replies name them; each with a service account of its name in the namespace ``bench``."""
BURST = 1_000_000
"""The sidecar's limit, which nothing reaches; every edit adds one to it, and replies say it."""

_WORKLOAD = """apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: bench}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{serviceAccountName: {name}, containers: [{{name: {name}, image: {name}}}]}}
---
"""
_SHARED = """apiVersion: v1
kind: Service
metadata: {{name: app, namespace: bench}}
spec:
  selector: {{app: app}}
  ports: [{{name: http, port: 80, targetPort: {load}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: untouched, namespace: bench}}
spec:
  selector: {{app: app}}
  ports: [{{name: http-chat, port: 81, targetPort: {chat}}}, {{name: grpc-calls, port: 82, targetPort: {calls}}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict, namespace: bench}}
spec: {{selector: {{matchLabels: {{app: app}}}}, mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: near, namespace: bench}}
spec:
  hosts: [near.origin]
  ports: [{{number: {load}, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: bench}}
spec: {{selector: {{app: edge}}, servers: [{{port: {{number: {gateway}, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: chat, namespace: bench}}
spec:
  hosts: [chat.test]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: untouched, port: {{number: 81}}}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: calls, namespace: bench}}
spec:
  hosts: [calls.test]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: untouched, port: {{number: 82}}}}}}]}}]
"""
_LOADED = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: bench}}
spec:
  hosts: [{name}.test]
  gateways: [edge]
  http:
    - headers: {{response: {{set: {{x-mark-route: "{mark}"}}}}}}
      route:
        - destination: {{host: {host}, port: {{number: {port}}}}}
          headers: {{response: {{set: {{x-mark-destination: "{mark}"}}}}}}
"""
_LIMIT = """apiVersion: weft/v1
kind: RateLimit
metadata: {{name: app, namespace: bench}}
spec:
  targetRefs: [{{kind: Service, name: app}}]
  limits: [{{requests: 1000000, per: 1s, burst: {burst}}}]
  responseHeaders: true
"""
_OTHER = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: other-{number}, namespace: bench}}
spec:
  hosts: [other-{number}.test]
  gateways: [edge]
  http:
    - match: [{{uri: {{prefix: /v{version}}}}}]
      timeout: {version}s
      headers: {{request: {{set: {{x-version: "{version}"}}}}}}
      route:
        - {{destination: {{host: near.origin, port: {{number: {load}}}}}, weight: {weight}}}
        - {{destination: {{host: app, port: {{number: 80}}}}, weight: {rest}}}
    - directResponse: {{status: {status}}}
"""
_POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: closed, namespace: bench}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: ["/closed/{version}/*"]}}}}]}}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: callers, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  action: ALLOW
  rules:
    - from: [{{source: {{principals: ["cluster.local/ns/bench/sa/edge", "cluster.local/ns/bench/sa/other-{version}"]}}}}]
"""


class Edited:
    """The mesh while it is edited. Owns the files; ``ports`` are the gateway's and those of the application by name.

    Without ``limits`` the sidecar's limit is not edited: Envoy holds it in a filter chain, and ends the connections of one that changed.
    """

    def __init__(self, ports: dict[str, int], seed: int = 1, *, limits: bool = True) -> None:
        self._ports = ports
        self._random = Random(seed)
        self._limits = limits
        self._files: dict[str, bytes] = {}
        self._memory = Memory()
        self._put("shared", "".join(_WORKLOAD.format(name=name) for name in (EDGE, APP)) + _SHARED.format(**ports))
        for number in range(HOSTS):
            self._change(number)

    def snapshot(self, mark: int) -> Snapshot:
        """The mesh after one more edit, compiled; raises ValueError where it does not compile, which is a mistake of this file."""
        self._put("near", _LOADED.format(name="near", mark=mark, host="near.origin", port=self._ports["load"]))
        self._put("far", _LOADED.format(name="far", mark=mark, host="app", port=80))
        if self._limits:
            self._put("limit", _LIMIT.format(burst=BURST + mark))
        self._put("policy", _POLICY.format(version=self._random.randrange(5)))
        for number in self._random.sample(range(HOSTS), CHANGES):
            if self._random.random() < 0.2:
                self._files.pop(f"other-{number}.yaml", None)
            else:
                self._change(number)
        compilation = compile_tree(MemoryTree(self._files), memory=self._memory)
        if compilation.snapshot is None:
            raise ValueError("; ".join(item.message for item in compilation.diagnostics))
        return compilation.snapshot

    def marks(self, mark: int) -> dict[str, dict[str, str]]:
        """What the replies of each hop bear that are made from the snapshot of this mark."""
        limit = {"x-ratelimit-limit": str(BURST + mark)} if self._limits else {}
        return {EDGE: {"x-mark-route": str(mark), "x-mark-destination": str(mark)}, APP: limit}

    def _change(self, number: int) -> None:
        weight = self._random.randrange(101)
        text = _OTHER.format(
            number=number,
            version=self._random.randrange(1, 9),
            weight=weight,
            rest=100 - weight,
            status=self._random.choice((200, 404, 503)),
            load=self._ports["load"],
        )
        self._put(f"other-{number}", text)

    def _put(self, name: str, text: str) -> None:
        self._files[f"{name}.yaml"] = text.encode()
