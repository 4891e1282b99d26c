"""The mesh that Istio's traffic cases run in: sidecars ``a``, ``b``, ``c`` and ``headless``, an outside application, and an ingress gateway.

Every application is a real program, every proxy a real data plane, and between sidecars there is mutual TLS.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from compiler.diagnostic import Severity
from compiler.memory import Memory
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot
from snapshot.live import RegisteredWorkload, Registry
from tests.conformance.applications import Application, applications
from tests.proxies import Running, running, slice_named
from tests.runtime.authority import Authority

DOMAIN = "cluster.local"
NAMESPACE = "default"
SIDECARS = ("a", "b", "c", "headless")
EXTERNAL = "fake.external.com"
PORTS = (
    ("http", 80, 18080, "http"),
    ("grpc", 7070, 17070, "http"),
    ("http2", 85, 18085, "http"),
    ("tcp", 9090, 19090, "tcp"),
    ("https", 443, 18443, "https"),
    ("tcp-server", 9091, 16060, "tcp-server"),
    ("auto-tcp", 9092, 19091, "tcp"),
    ("auto-tcp-server", 9093, 16061, "tcp-server"),
    ("auto-http", 81, 18081, "http"),
    ("auto-grpc", 7071, 17071, "http"),
)
"""Istio's echo ports: name, service port, workload port, and what the program speaks there."""
WORKLOAD_ONLY = ((19092, "tcp"), (18083, "http"))
BY_NAME = {name: number for name, number, _, _ in PORTS}

_WORKLOAD = """
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  {more}selector: {{app: {name}}}
  ports:
{ports}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, test.istio.io/class: {kind}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: app
        ports: [{containers}]
---
"""
_INGRESS = """
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80}, {name: https, port: 443}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata: {labels: {istio: ingressgateway}}
    spec: {containers: [{name: istio-proxy}]}
---
"""
_OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: external-service}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{name: http, number: 80, protocol: HTTP}}, {{name: auto, number: 81}}, {{name: https, number: 443, protocol: HTTPS}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {http}, auto: {http}, https: {https}}}}}]
---
"""


class World:
    """One mesh that runs: ``proxies`` by workload (``ingress`` is the gateway's), ``programs`` by name."""

    def __init__(self, programs: dict[str, Application], proxies: dict[str, Running], authority: Authority) -> None:
        self.programs = programs
        self.proxies = proxies
        self.authority = authority


class Town:
    """The programs, which serve for all cases, and what the compiler remembers of the mesh around them."""

    def __init__(self) -> None:
        self.authority = Authority()
        context = _server_context(self.authority, "*.default.svc.cluster.local", EXTERNAL)
        served = [(workload, protocol) for _, _, workload, protocol in PORTS]
        self.programs = {
            name: Application(name, [*served, *WORKLOAD_ONLY], context) for name in (*SIDECARS, "external")
        }
        self._memory = Memory()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Runs the programs."""
        async with applications(*self.programs.values()):
            yield

    def compile(self, config: str) -> Snapshot:
        """The mesh with a case's own documents; raises ValueError where they do not compile, or say more than is carried."""
        tree = {"mesh.yaml": self._mesh().encode(), "case.yaml": config.encode()}
        found = compile_tree(MemoryTree(tree), allow_partial=True, memory=self._memory)
        errors = [
            f"{item.code} {item.message}"
            for item in found.diagnostics
            if item.severity is Severity.ERROR or item.code == "WFT0200"
        ]
        if found.snapshot is None or any(error.startswith("WFT0200") for error in errors):
            raise ValueError("; ".join(errors) or "nothing compiles")
        return found.snapshot

    def _mesh(self) -> str:
        outside = self.programs["external"].ports
        return (
            "".join(_workload(name) for name in SIDECARS)
            + _INGRESS
            + _OUTSIDE.format(host=EXTERNAL, http=outside[18080], https=outside[18443])
        )

    @asynccontextmanager
    async def world(self, snapshot: Snapshot) -> AsyncIterator[World]:
        """Runs a proxy for every slice, all with the same registry."""
        names = {f"sidecar/{NAMESPACE}/{name}": name for name in SIDECARS}
        slices = {entry.name: names.get(entry.name, "ingress") for entry in snapshot.index.slices}
        proxies: dict[str, Running] = {}
        async with AsyncExitStack() as stack:
            for entry, name in slices.items():
                program = self.programs.get(name)
                behind = {str(number): port for number, port in program.ports.items()} if program else {}
                proxy = running(slice_named(snapshot, entry), application_ports=behind)
                proxies[name] = await stack.enter_async_context(proxy)
            registry = tuple(self._registered(name, proxies[name]) for name in SIDECARS)
            for name, proxy in proxies.items():
                account = f"{NAMESPACE}/sa/{name}" if name != "ingress" else "istio-system/sa/default"
                proxy.proxy.set_svid(self.authority.svid(f"spiffe://{DOMAIN}/ns/{account}"))
                proxy.proxy.set_registry(Registry(2, registry))
            if "ingress" in proxies:
                served = self.authority.credential("istio-system/cred", "*.default.svc.cluster.local")
                proxies["ingress"].proxy.set_credentials([served])
            yield World(self.programs, proxies, self.authority)

    def _registered(self, name: str, proxy: Running) -> RegisteredWorkload:
        kind = "headless" if name == "headless" else "standard"
        return RegisteredWorkload(
            namespace=NAMESPACE,
            name=name,
            address="127.0.0.1",
            labels=(("app", name), ("test.istio.io/class", kind)),
            identity=f"spiffe://{DOMAIN}/ns/{NAMESPACE}/sa/{name}",
            ports=tuple((number, port) for number, port in proxy.ports.items() if number.isdigit()),
        )


def _workload(name: str) -> str:
    listed = "\n".join(
        f"  - {{name: {port}, port: {number}, targetPort: {target}}}" for port, number, target, _ in PORTS
    )
    containers = ", ".join(
        f"{{containerPort: {number}}}" for number in (*(row[2] for row in PORTS), *(row[0] for row in WORKLOAD_ONLY))
    )
    headless = name == "headless"
    return _WORKLOAD.format(
        name=name,
        ports=listed,
        containers=containers,
        kind="headless" if headless else "standard",
        more="clusterIP: None\n  " if headless else "",
    )


def _server_context(authority: Authority, *names: str) -> ssl.SSLContext:
    credential = authority.credential("server", *names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(credential.certificate_chain + credential.private_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
