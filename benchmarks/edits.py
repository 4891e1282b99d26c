"""A mesh that is edited at random, many times, the same way every time: what is published while a proxy is under load.

One gateway has 200 hosts. Every edit changes the mark of the host that is under load, at two levels, so that a reply which mixes two snapshots
shows; and a few others: routes, weights, edits of headers, time-outs, whole VirtualServices, policies. Two hosts are never touched.
"""

from __future__ import annotations

from random import Random

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot

HOSTS = 200
CHANGES = 6
"""How many of the other hosts one edit changes."""

LOADED, CHAT, CALLS = "load.test", "chat.test", "calls.test"
NAME = "gateway/bench/edge"

_SHARED = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: edge, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: edge}}}}
  template: {{metadata: {{labels: {{app: edge}}}}, spec: {{containers: [{{name: edge, image: edge}}]}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: bench}}
spec: {{selector: {{app: edge}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
{origins}
"""
_ORIGIN = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: bench}}
spec:
  hosts: [{name}.origin]
  ports: [{{number: {port}, name: {protocol}, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: bench}}
spec:
  hosts: [{name}.test]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: {name}.origin, port: {{number: {port}}}}}}}]}}]
"""
_LOADED = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: load, namespace: bench}}
spec:
  hosts: [load.test]
  gateways: [edge]
  http:
    - headers: {{response: {{set: {{x-mark-route: "{mark}"}}}}}}
      route:
        - destination: {{host: load.origin, port: {{number: {port}}}}}
          headers: {{response: {{set: {{x-mark-destination: "{mark}"}}}}}}
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
        - {{destination: {{host: load.origin, port: {{number: {port}}}}}, weight: {weight}}}
        - {{destination: {{host: chat.origin, port: {{number: {chat}}}}}, weight: {rest}}}
    - directResponse: {{status: {status}}}
"""
_POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: closed, namespace: bench}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: ["/closed/{version}/*"]}}}}]}}]}}
"""


class Edited:
    """The mesh while it is edited. Owns the files; ``ports`` are the gateway's and those of the origins by name."""

    def __init__(self, ports: dict[str, int], seed: int = 1) -> None:
        self._ports = ports
        self._random = Random(seed)
        self._files: dict[str, bytes] = {}
        origins = [
            _ORIGIN.format(name=name, port=ports[name], protocol="GRPC" if name == "calls" else "HTTP")
            for name in ("chat", "calls")
        ]
        load = _ORIGIN.format(name="load", port=ports["load"], protocol="HTTP").partition("---")[0]
        self._put("shared", _SHARED.format(port=ports["gateway"], origins="---\n".join((*origins, load))))
        for number in range(HOSTS):
            self._change(number)

    def snapshot(self, mark: int) -> Snapshot:
        """The mesh after one more edit, compiled; raises ValueError where it does not compile, which is a mistake of this file."""
        self._put("load", _LOADED.format(mark=mark, port=self._ports["load"]))
        self._put("policy", _POLICY.format(version=self._random.randrange(5)))
        for number in self._random.sample(range(HOSTS), CHANGES):
            if self._random.random() < 0.2:
                self._files.pop(f"other-{number}.yaml", None)
            else:
                self._change(number)
        compilation = compile_tree(MemoryTree(self._files))
        if compilation.snapshot is None:
            raise ValueError("; ".join(item.message for item in compilation.diagnostics))
        return compilation.snapshot

    def _change(self, number: int) -> None:
        weight = self._random.randrange(101)
        text = _OTHER.format(
            number=number,
            version=self._random.randrange(1, 9),
            weight=weight,
            rest=100 - weight,
            status=self._random.choice((200, 404, 503)),
            port=self._ports["load"],
            chat=self._ports["chat"],
        )
        self._put(f"other-{number}", text)

    def _put(self, name: str, text: str) -> None:
        self._files[f"{name}.yaml"] = text.encode()
