"""One test of Gateway API's suites, running: its manifests compiled, a program behind every Deployment, a data plane for every slice asked for."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import yaml
from cryptography import x509

from compiler.diagnostic import Severity
from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from snapshot.index import Snapshot
from snapshot.live import Credential, RegisteredWorkload, Registry
from snapshot.prepared import prepare
from tests.conformance.applications import Application, applications
from tests.conformance.corpus import DATA
from tests.proxies import Running, running, slice_named
from tests.runtime.authority import Authority

MANIFESTS = DATA / "gateway-conformance" / "manifests"
BASES = {"gateway": "base/manifests.yaml", "mesh": "mesh/manifests.yaml"}
IDENTITY = "spiffe://abc.example.com/test-identity"
_PLAIN = ((3000, "http"), (3001, "http"), (8080, "http"), (8443, "https"), (7070, "http"), (9090, "tcp"))
_BY_SWITCH = {
    "TCP_ECHO_SERVER": ((3000, "tcp"), (8443, "tcp-tls"), (8080, "tcp")),
    "UDP_ECHO_SERVER": ((8080, "udp"), (3000, "udp")),
}


class Town:
    """One test's manifests and what runs because of them. ``hosts`` are the names that its servers must prove."""

    def __init__(self, suite: str, manifests: Iterable[str], hosts: Iterable[str]) -> None:
        self.authority = Authority()
        self.others: dict[str, Authority] = {}
        self._mesh = suite == "mesh"
        paths = [BASES[suite], *manifests]
        self.documents = {path: _documents((MANIFESTS / path).read_text()) for path in paths}
        named = [host for item in self._all() for host in item.get("spec", {}).get("hostnames", ()) if "*" not in host]
        self._hosts = tuple(sorted({*named, *filter(None, hosts), "abc.example.com", "other.example.com"}))
        self._deployments = [item for item in self._all() if item["kind"] == "Deployment"]
        server = self._server_context()
        self.programs = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): _program(item, server)
            for item in self._deployments
        }
        self.snapshot: Snapshot | None = None
        self.problem = ""
        self._proxies: dict[str, Running] = {}
        self._stack = AsyncExitStack()

    def _all(self) -> list[dict[str, Any]]:
        return [document for documents in self.documents.values() for document in documents]

    def route_host(self) -> str:
        """The first hostname of the test's own route."""
        routes = (item for item in self._all() if item["kind"].endswith("Route"))
        return str(next(route["spec"]["hostnames"][0] for route in routes))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Runs the programs, compiles, and ends every proxy that was asked for."""
        async with applications(*self.programs.values()), self._stack:
            self._compile()
            if self._mesh and self.snapshot is not None:
                await self._open_sidecars(self.snapshot)
            yield

    def _compile(self) -> None:
        # Not below tests/, which is set aside in a mesh repository.
        tree = {
            path.replace("tests/", "case/"): yaml.safe_dump_all(self._with_addresses(documents)).encode()
            for path, documents in self.documents.items()
        }
        found = compile_tree(MemoryTree(tree), allow_partial=True)
        self.snapshot = found.snapshot
        if found.snapshot is None:
            errors = [item.message for item in found.diagnostics if item.severity is Severity.ERROR]
            self.problem = f"does not compile: {errors[:2]}"

    def _with_addresses(self, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """EndpointSlices filled in, as the suite itself does once the pods run; there is no origin for IPv6."""
        kept = [document for document in documents if document.get("addressType") != "IPv6"]
        for document in kept:
            if document["kind"] == "EndpointSlice":
                first = self.programs["gateway-conformance-infra", "infra-backend-v1"]
                document["endpoints"] = [{"addresses": ["127.0.0.1"]}]
                document["ports"][0]["port"] = first.ports[3000]
        return kept

    async def without(self, kind: str) -> None:
        """Deletes the documents of a kind, and lets every proxy that runs load what is left."""
        if not kind:
            return
        for path, documents in self.documents.items():
            self.documents[path] = [item for item in documents if item["kind"] != kind]
        self._compile()
        assert self.snapshot is not None
        for name, proxy in self._proxies.items():
            await proxy.load(slice_named(self.snapshot, name))

    # --- proxies ---------------------------------------------------------------------------------------------------------------

    async def proxy(self, name: str) -> Running | None:
        """The proxy of a slice, started when it is first asked for; None where there is no such slice."""
        assert self.snapshot is not None
        if name not in self._proxies:
            if name not in {entry.name for entry in self.snapshot.index.slices}:
                return None
            slice_ = slice_named(self.snapshot, name)
            registry = [
                _registered(item, self.programs[key].ports, mesh=False)
                for key, item in zip(self.programs, self._deployments, strict=True)
            ]
            slots = prepare(slice_).proxy.credentials
            filled = [self._credential(slot.name) for slot in slots if not slot.name.endswith("does-not-exist")]
            self._proxies[name] = await self._stack.enter_async_context(running(slice_, registry, filled))
        return self._proxies[name]

    async def _open_sidecars(self, snapshot: Snapshot) -> None:
        registry = []
        for key, item in zip(self.programs, self._deployments, strict=True):
            program = self.programs[key]
            name = f"sidecar/{key[0]}/{key[1]}"
            behind = {str(number): port for number, port in program.ports.items()}
            proxy = await self._stack.enter_async_context(
                running(slice_named(snapshot, name), application_ports=behind)
            )
            self._proxies[name] = proxy
            ports = {int(number): port for number, port in proxy.ports.items() if number.isdigit()}
            registry.append(_registered(item, ports, mesh=True))
        for workload in registry:
            proxy = self._proxies[f"sidecar/{workload.namespace}/{workload.name}"]
            proxy.proxy.set_svid(self.authority.svid(workload.identity))
            proxy.proxy.set_registry(Registry(2, tuple(registry)))

    # --- certificates ----------------------------------------------------------------------------------------------------------

    def _credential(self, slot: str) -> Credential:
        """What fills a slot: a CA of its own where clients are proved, a foreign one where the test wants a mismatch."""
        name = slot.rpartition("/")[2]
        issuer = self.authority
        if "mismatch" in name or name.startswith("tls-validity-checks-ca") or "per-port" in name:
            issuer = self.others.setdefault(slot, Authority(name))
        chain, key = self.authority.issue(*(x509.DNSName(host) for host in self._hosts))
        return Credential(slot, chain, key, issuer.bundle)

    def _server_context(self) -> ssl.SSLContext:
        names = [x509.DNSName(host) for host in self._hosts]
        chain, key = self.authority.issue(*names, x509.UniformResourceIdentifier(IDENTITY))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        load(context, chain + key)
        return context

    def client_context(self, issuer: Authority | None = None) -> ssl.SSLContext:
        """A client that trusts the town's authority, with a certificate of ``issuer``'s where there is one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.bundle.decode())
        if issuer is not None:
            chain, key = issuer.issue(x509.DNSName("client.example"))
            load(context, chain + key)
        return context


def load(context: ssl.SSLContext, material: bytes) -> None:
    """Gives a context its certificate and key, PEM."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(material)
        file.flush()
        context.load_cert_chain(file.name)


def _documents(text: str) -> list[dict[str, Any]]:
    filled = text.replace("{GATEWAY_CLASS_NAME}", "istio").replace("{GATEWAY_CONTROLLER_NAME}", "weft.dev/gateway")
    return [document for document in yaml.safe_load_all(filled) if document]


def _program(item: dict[str, Any], server: ssl.SSLContext) -> Application:
    (container,) = item["spec"]["template"]["spec"]["containers"]
    switches = {env["name"] for env in container.get("env", ())}
    ports = next((_BY_SWITCH[switch] for switch in _BY_SWITCH if switch in switches), _PLAIN)
    return Application(item["metadata"]["name"], ports, server, item["metadata"]["namespace"])


def _registered(item: dict[str, Any], ports: dict[int, int], *, mesh: bool) -> RegisteredWorkload:
    """A deployment's one pod."""
    labels = item["spec"]["template"]["metadata"]["labels"]
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    account = item["spec"]["template"]["spec"].get("serviceAccountName", "default")
    return RegisteredWorkload(
        namespace=namespace,
        name=name,
        address="127.0.0.1",
        labels=tuple(sorted(labels.items())),
        identity=f"spiffe://cluster.local/ns/{namespace}/sa/{account}" if mesh else "",
        mesh=mesh,
        ports=tuple((str(number), port) for number, port in ports.items()),
    )
