"""Istio's cases of DNS and of virtual machines, in network namespaces whose kernels redirect: pods ``a`` and ``headless``, one with other rules
(``tproxy``), and a machine (``vm``) outside of Kubernetes, each behind a sidecar that answers DNS. A control plane gives them certificates: between
sidecars there is mutual TLS, and nothing else is accepted.

What the cases hold as code: which addresses an entry has, and that exactly those are answered; of a service, its cluster IP. Rules redirect
queries to the server that resolv.conf names, and to no other (Istio).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapshot.store_directory import DirectoryStore
from tests.compiler.compiled import compiled
from tests.conformance.go_template import evaluate
from tests.namespaces import Namespace, why_not, wire
from tests.stores import release_mesh, signing_keys

GROUPS = ("DNSTestCases", "VMTestCases")
CLIENTS = {"t.Apps.VM.CallOrFail": "vm", "t.Apps.A.CallOrFail": "a", "t.Apps.Tproxy.CallOrFail": "tproxy"}
ADDRESSES = {"ipv4": "1.2.3.4", "ipv6": "1234:1234:1234::1234:1234:1234"}
CLUSTER_IP = "10.96.0.10"
WAIT_S = 30.0
_CONTROL = "10.9.9.9"
_GROUP = "1337"
_PODS = {"a": 1, "headless": 2, "vm": 3, "tproxy": 4}
_WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
_MESH = """
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: mesh}
spec:
  defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vm, namespace: default}
spec: {metadata: {labels: {app: vm}}, template: {serviceAccount: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {address: 10.1.3.2, labels: {app: vm}, serviceAccount: vm}
"""
_SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{{cluster_ip}selector: {{app: {name}}}, ports: [{{name: http, port: {port}, targetPort: 8080}}]}}
"""
_POD = """
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec: {{containers: [{{name: app, image: app, ports: [{{containerPort: 8080}}]}}]}}
status: {{podIP: 10.1.{number}.2}}
"""
_RULES = """
table inet mesh {{
  chain out {{
    type nat hook output priority -100; policy accept;
    meta skgid 1337 return
    ip daddr 10.1.{number}.1 udp dport 53 redirect to :15053
    ip daddr 10.1.{number}.1 tcp dport 53 redirect to :15053
    oifname lo return
    meta l4proto tcp redirect to :15001
  }}
  chain in {{
    type nat hook prerouting priority -100; policy accept;
    tcp dport {{ 15001, 15006 }} return
    meta l4proto tcp redirect to :15006
  }}
}}
"""
_PROGRAM = """
import http.server, sys
class Say(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[1].encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Say).serve_forever()
"""
_RESOLVER = """
import socketserver, struct, threading
import dns.message
def resolve(wire):
    reply = dns.message.make_response(dns.message.from_wire(wire)); reply.set_rcode(3)
    return reply.to_wire()
class Datagrams(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(resolve(self.request[0]), self.client_address)
class Streams(socketserver.StreamRequestHandler):
    def handle(self):
        (length,) = struct.unpack("!H", self.rfile.read(2)); reply = resolve(self.rfile.read(length))
        self.wfile.write(struct.pack("!H", len(reply)) + reply)
threading.Thread(target=socketserver.ThreadingUDPServer(("0.0.0.0", 53), Datagrams).serve_forever, daemon=True).start()
socketserver.ThreadingTCPServer(("0.0.0.0", 53), Streams).serve_forever()
"""
_ASK = """
import sys, dns.message, dns.query, dns.rdatatype
over = dns.query.tcp if sys.argv[1] == "tcp" else dns.query.udp
for kind in ("A", "AAAA"):
    reply = over(dns.message.make_query(sys.argv[2], kind), sys.argv[3], timeout=1)
    print(*sorted(row.to_text() for rows in reply.answer for row in rows))
"""


def _port(service: str) -> int:
    """A service's port: of a headless one, whose clients call the workloads, it is theirs."""
    return 8080 if service == "headless" else 80


def _weft(*arguments: str) -> str:
    return subprocess.run([*_WEFT, *arguments], capture_output=True, text=True, check=True).stdout


class Pods:
    """Owns the namespaces, which are made when a case is the first to need them, and what runs in them."""

    def __init__(self) -> None:
        self.missing = why_not()
        self._folder = tempfile.TemporaryDirectory()
        self._hub: Namespace | None = None
        self._pods: dict[str, Namespace] = {}
        self._digest = ""

    def close(self) -> None:
        """Ends all of it."""
        for one in (*self._pods.values(), *((self._hub,) if self._hub else ())):
            one.end()
        self._folder.cleanup()

    def judge(self, case: dict[str, Any]) -> str | None:
        """What is wrong with a case, None where it is right."""
        if case["line"] == 3745:
            ips = (
                [next(ip for family, ip in ADDRESSES.items() if family in case["name"])]
                if "ipv" in case["name"]
                else [ADDRESSES["ipv4"]]
            )
            self._release(evaluate(case["config"], {"IPs": ips}))
            return self._ask(case, "fake.service.local", ips)
        self._release("")
        if case["group"] == "DNSTestCases":
            return self._ask(case, "a.default.svc.cluster.local", [CLUSTER_IP])
        return self._call(case)

    def _ask(self, case: dict[str, Any], name: str, wanted: list[str]) -> str | None:
        client = CLIENTS[case["call"]["$expr"]]
        over = "tcp" if "/tcp" in case["name"] else "udp"
        elsewhere = "localhost server" in case["name"]
        server = "127.0.0.1" if elsewhere else f"10.1.{_PODS[client]}.1"
        found = self._run(client, sys.executable, "-c", _ASK, over, name, server).split()
        if elsewhere:
            return f"another server's queries were answered: {found}" if found else None
        return None if found == wanted else f"{name} is {found}, not {wanted}"

    def _call(self, case: dict[str, Any]) -> str | None:
        said = case["name"]
        source, target = (
            ("a", "vm") if said.startswith("k8s to vm") else ("vm", "headless" if "headless" in said else "a")
        )
        forms = {"name.namespace": f"{target}.default", "short name": target}
        host = next((form for words, form in forms.items() if words in said), f"{target}.default.svc.cluster.local")
        reply, deadline = "", time.monotonic() + WAIT_S
        # A sidecar that has just registered is known to the others in a moment.
        while reply != f"{target} 200" and time.monotonic() < deadline:
            url = f"http://{host}:{_port(target)}/"
            reply = self._run(source, "curl", "-s", "-w", " %{http_code}", "--max-time", "10", url)
        return None if reply == f"{target} 200" else f"{host} from {source}: {reply!r}"

    def _run(self, pod: str, *command: str) -> str:
        resolver = str(Path(self._folder.name) / f"{pod}.resolv.conf")
        bound = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolver, *command)
        return self._pods[pod].run(*bound, check=False).strip()

    def _release(self, config: str) -> None:
        """Publishes the mesh with a case's own documents, and waits until every sidecar serves that."""
        services = {"a": f"clusterIP: {CLUSTER_IP}, ", "headless": "clusterIP: None, ", "vm": "clusterIP: 10.96.0.11, "}
        texts = [_MESH, *(_SERVICE.format(name=name, cluster_ip=ip, port=_port(name)) for name, ip in services.items())]
        texts += [_POD.format(name=name, number=number) for name, number in _PODS.items() if name != "vm"]
        snapshot = compiled("".join(texts), *([config] if config else [])).snapshot
        if snapshot.digest == self._digest:
            return
        folder = Path(self._folder.name)
        release_mesh(DirectoryStore(folder / "store"), snapshot)
        if self._hub is None:
            self._start(folder)
        for pod in self._pods.values():
            deadline = time.monotonic() + WAIT_S
            while snapshot.digest not in pod.run("curl", "-s", "http://127.0.0.1:15000/snapshot", check=False):
                assert time.monotonic() < deadline, f"{pod.pid}: the snapshot is not taken"
                time.sleep(0.1)
        self._digest = snapshot.digest

    def _start_control(self, hub: Namespace, folder: Path) -> None:
        hub.run("ip", "addr", "add", f"{_CONTROL}/32", "dev", "lo")
        state = ("--state", str(folder / "control"), "--store", str(folder / "store"))
        hub.start(*_WEFT, "control", *state, "--listen", f"{_CONTROL}:15012", log=folder / "control.log")
        deadline = time.monotonic() + WAIT_S
        while "ready" not in hub.run("curl", "-s", "http://127.0.0.1:15014/ready", check=False):
            assert time.monotonic() < deadline, (folder / "control.log").read_text()
            time.sleep(0.1)
        (folder / "bundle.pem").write_text(_weft("ca", "bundle", "--state", str(folder / "control")))

    def _start(self, folder: Path) -> None:
        (folder / "root.json").write_bytes(signing_keys().root)
        self._hub = hub = Namespace()
        hub.start(sys.executable, "-c", _RESOLVER, log=folder / "resolver.log")
        hub.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._start_control(hub, folder)
        control = str(folder / "control")
        for name, number in _PODS.items():
            self._pods[name] = pod = Namespace()
            wire(pod, f"10.1.{number}.2", hub, f"10.1.{number}.1")
            hub.run("ip", "link", "set", "eth0", "down")
            hub.run("ip", "link", "set", "eth0", "name", f"to{number}")
            hub.run("ip", "link", "set", f"to{number}", "up")
            (folder / f"{name}.nft").write_text(_RULES.format(number=number))
            pod.run("nft", "-f", str(folder / f"{name}.nft"))
            (folder / f"{name}.resolv.conf").write_text(f"nameserver 10.1.{number}.1\n")
            (folder / f"{name}.toml").write_text(
                f'store = "store"\nroot = "root.json"\nstate = "state.{name}"\n'
                f'selector = {{namespace = "default", labels = [["app", "{name}"]]}}\n'
                f'address = "10.1.{number}.2"\ninterception = "redirect"\nresolv_conf = "{name}.resolv.conf"\n'
                f'control = "https://{_CONTROL}:15012"\ncontrol_ca = "bundle.pem"\njoin_token = "token.{name}"\n'
            )
            account = "vm" if name == "vm" else "default"
            (folder / f"token.{name}").write_text(
                _weft("ca", "token", "--state", control, "--identity", f"default/{account}")
            )
            pod.start(sys.executable, "-c", _PROGRAM, name, log=folder / f"{name}.program.log")
            sidecar = ("setpriv", "--regid", _GROUP, "--clear-groups", *_WEFT, "proxy", "sidecar", "--bootstrap")
            pod.start(*sidecar, str(folder / f"{name}.toml"), log=folder / f"{name}.log")


@contextmanager
def namespaces() -> Iterator[Pods]:
    """The pods for the duration of a block."""
    pods = Pods()
    try:
        yield pods
    finally:
        pods.close()
