"""DNS in a network namespace whose kernel redirects port 53: what an application's own resolver is answered, and where the answers lead."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapshot.store_directory import DirectoryStore
from tests.compiler.compiled import compiled
from tests.namespaces import Namespace, require_namespaces, wire
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
GROUP = "1337"
"""What processes of this group send is not redirected."""

POD, PEER = "10.1.0.2", "10.1.0.1"
POD_SIX, PEER_SIX = "fd00:1::2", "fd00:1::1"
MESH = """
apiVersion: weft/v1
kind: MeshConfig
metadata: {name: mesh}
spec: {defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"}}}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: 9000}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: ratings, namespace: shop}
subsets: [{addresses: [{ip: 10.1.0.1}], ports: [{name: http, port: 9000}]}]
"""
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.test]
  ports: [{{number: {number}, name: {protocol}, protocol: {spoken}}}]
  resolution: STATIC
  endpoints: [{{address: 10.1.0.1, ports: {{{protocol}: {real}}}}}]
"""
FIRST = ENTRY.format(name="first", number=6000, protocol="tcp", spoken="TCP", real=7001)
SECOND = ENTRY.format(name="second", number=6000, protocol="tcp", spoken="TCP", real=7002)
WEB = ENTRY.format(name="web", number=9080, protocol="http", spoken="HTTP", real=9000)
RULES = f"""
table inet mesh {{
  chain out {{
    type nat hook output priority -100; policy accept;
    meta skgid {GROUP} return
    udp dport 53 redirect to :15053
    tcp dport 53 redirect to :15053
    oifname lo return
    meta l4proto tcp redirect to :15001
  }}
}}
"""
PEERS = """
import http.server, socketserver, struct, sys, threading
import dns.message, dns.rrset

class Say(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"web {self.headers['host']}".encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass

class Greet(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(self.server.name); self.request.recv(10)

def resolve(wire):
    asked = dns.message.from_wire(wire); reply = dns.message.make_response(asked); one = asked.question[0]
    if one.name.to_text() in ("elsewhere.test.", "web.test.") and one.rdtype == 1:
        reply.answer.append(dns.rrset.from_text(one.name, 5, "IN", "A", sys.argv[1]))
    elif one.name.to_text() != "elsewhere.test.":
        reply.set_rcode(3)
    return reply.to_wire()

class Datagrams(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(resolve(self.request[0]), self.client_address)

class Streams(socketserver.StreamRequestHandler):
    def handle(self):
        (length,) = struct.unpack("!H", self.rfile.read(2)); reply = resolve(self.rfile.read(length))
        self.wfile.write(struct.pack("!H", len(reply)) + reply)

servers = [http.server.ThreadingHTTPServer((sys.argv[1], port), Say) for port in (80, 9000)]
for port, name in ((7001, b"the first"), (7002, b"the second")):
    servers.append(socketserver.ThreadingTCPServer((sys.argv[1], port), Greet)); servers[-1].name = name
servers += [socketserver.ThreadingUDPServer((sys.argv[1], 53), Datagrams), socketserver.ThreadingTCPServer((sys.argv[1], 53), Streams)]
for server in servers[1:]: threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
"""
GREETED = "import socket,sys; print(socket.create_connection((sys.argv[1], 6000), 5).recv(99).decode())"
ASKED = """
import sys, dns.message, dns.query
over = dns.query.tcp if sys.argv[1] == "tcp" else dns.query.udp
reply = over(dns.message.make_query(sys.argv[2], sys.argv[3]), sys.argv[4], timeout=5)
print(dns.rcode.to_text(reply.rcode()), *sorted(row.to_text() for rows in reply.answer for row in rows))
"""
WITH_RESOLVER = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class Pod:
    """A namespace whose sidecar answers DNS. Programs in it find the resolver of the peer's in their resolv.conf."""

    def __init__(self, inside: Namespace, folder: Path, engine: str) -> None:
        self.engine = engine
        self.inside = inside
        self.folder = folder

    def run(self, *command: str) -> str:
        found = str(self.folder / "resolv.conf")
        return self.inside.run("unshare", "-m", "sh", "-c", WITH_RESOLVER, found, *command, check=False)

    def ask(self, name: str, kind: str = "A", *, over: str = "udp", server: str = PEER) -> str:
        return self.run(sys.executable, "-c", ASKED, over, name, kind, server).strip()

    def release(self, *texts: str) -> None:
        release_mesh(DirectoryStore(self.folder / "store"), compiled("".join(texts)).snapshot)

    def wait_until(self, name: str, said: str) -> None:
        deadline = time.monotonic() + 20
        while said not in self.ask(name):
            assert time.monotonic() < deadline, (self.ask(name), (self.folder / "log").read_text())
            time.sleep(0.1)


@pytest.fixture(scope="module", params=["trio", "envoy"])
def pod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose sidecar runs either engine; DNS is the supervisor's in both."""
    require_namespaces()
    folder = tmp_path_factory.mktemp("pod")
    inside, peer = Namespace(), Namespace()
    try:
        wire(inside, POD, peer, PEER)
        for namespace, address in ((inside, POD_SIX), (peer, PEER_SIX)):
            namespace.run("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
        inside.run("ip", "-6", "route", "add", "default", "via", PEER_SIX)
        (folder / "rules.nft").write_text(RULES)
        (folder / "resolv.conf").write_text(
            f"search shop.svc.cluster.local svc.cluster.local\nnameserver {PEER}\noptions ndots:5\n"
        )
        inside.run("nft", "-f", str(folder / "rules.nft"))
        peer.start(sys.executable, "-c", PEERS, PEER, log=folder / "peers")
        pod = Pod(inside, folder, request.param)
        (folder / "root.json").write_bytes(signing_keys().root)
        pod.release(MESH, FIRST, SECOND, WEB)
        (folder / "sidecar.toml").write_text(
            'store = "store"\nroot = "root.json"\nstate = "state"\nselector = {name = "sidecar/shop/app"}\nstamp = true\n'
            f'address = "{POD}"\ninterception = "redirect"\nresolv_conf = "resolv.conf"\nengine = "{request.param}"\n'
        )
        sidecar = ["setpriv", "--regid", GROUP, "--clear-groups", *WEFT, "proxy", "sidecar", "--bootstrap"]
        inside.start(*sidecar, str(folder / "sidecar.toml"), log=folder / "log")
        deadline = time.monotonic() + 20
        while "LIVE" not in inside.run("curl", "-s", "http://127.0.0.1:15000/ready", check=False):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield pod
    finally:
        inside.end()
        peer.end()


@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_queries_to_any_server_are_answered_by_the_sidecar(pod: Pod, over: str) -> None:
    assert pod.ask("ratings.shop.svc.cluster.local", over=over, server="192.0.2.53") == "NOERROR 10.96.0.10"
    assert pod.ask("ratings", over=over) == "NOERROR 10.96.0.10"
    assert pod.ask("elsewhere.test", over=over) == f"NOERROR {PEER}"
    assert pod.ask("nobody.test", over=over) == "NXDOMAIN"
    assert pod.ask("ratings", "AAAA", over=over) == "NOERROR"


def test_the_c_librarys_resolver_finds_names_of_the_mesh(pod: Pod) -> None:
    assert pod.run("getent", "ahostsv4", "ratings").split()[0] == "10.96.0.10"
    assert pod.run("getent", "ahostsv4", "web.test").startswith("240.240.")


def test_curl_reaches_services_by_name_through_the_sidecar(pod: Pod) -> None:
    for name, port in (("ratings", 80), ("ratings.shop.svc.cluster.local", 80), ("web.test", 9080)):
        reply = pod.run("curl", "-s", "-i", "--max-time", "10", f"http://{name}:{port}/")
        assert ("200 OK" in reply, "x-weft-snapshot: app=" in reply, "web " in reply) == (True, True, True), (
            name,
            reply,
        )


def test_hosts_with_the_same_port_and_no_address_are_told_apart(pod: Pod) -> None:
    assert pod.run(sys.executable, "-c", GREETED, "first.test").strip() == "the first"
    assert pod.run(sys.executable, "-c", GREETED, "second.test").strip() == "the second"


def test_ipv6_is_served_and_led_to_services_alike(pod: Pod) -> None:
    assert pod.ask("web.test", "AAAA", server=PEER_SIX).startswith("NOERROR 2001:2::f0f0:")
    assert pod.ask("first.test", "AAAA", over="tcp", server=PEER_SIX).startswith("NOERROR 2001:2::f0f0:")
    reply = pod.run("curl", "-6", "-s", "-i", "--max-time", "10", "http://web.test:9080/")
    assert reply.endswith("web web.test:9080"), reply
    address = pod.ask("second.test", "AAAA").split()[1]
    assert pod.run(sys.executable, "-c", GREETED, address).strip() == "the second"
    by_address = pod.run("curl", "-s", "--max-time", "10", f"http://[{pod.ask('web.test', 'AAAA').split()[1]}]:9080/")
    assert by_address.startswith("web [2001:2::"), by_address


def test_a_name_that_only_others_know_leads_to_where_they_say(pod: Pod) -> None:
    reply = pod.run("curl", "-s", "-i", "--max-time", "10", "http://elsewhere.test/")
    assert reply.endswith("web elsewhere.test"), reply


def test_names_come_and_go_with_the_snapshot(pod: Pod) -> None:
    third = ENTRY.format(name="third", number=6000, protocol="tcp", spoken="TCP", real=7002)
    assert pod.ask("third.test") == "NXDOMAIN"
    pod.release(MESH, FIRST, SECOND, third)
    pod.wait_until("third.test", "240.240.")
    # What the mesh knows no more is as others say.
    assert pod.ask("web.test") == f"NOERROR {PEER}"
    pod.release(MESH, FIRST, SECOND, WEB)
    pod.wait_until("third.test", "NXDOMAIN")
    assert pod.ask("web.test").startswith("NOERROR 240.240.")


def test_the_sidecar_counts_queries_and_shows_its_names(pod: Pod) -> None:
    text = pod.inside.run("curl", "-s", "http://127.0.0.1:15020/stats/prometheus", check=False) or pod.inside.run(
        "curl", "-s", f"http://{POD}:15020/stats/prometheus"
    )
    counted = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("dns_")}
    assert counted["dns_requests_total"] > counted["dns_upstream_requests_total"] > 0
    assert counted["dns_upstream_request_duration_seconds_count"] == counted["dns_upstream_requests_total"]
    page = json.loads(pod.inside.run("curl", "-s", "http://127.0.0.1:15000/dns"))
    assert (page["serving"], page["resolvers"]) == (True, [f"{PEER}:53"])
    names = {one["names"][0]: one for one in page["names"]}
    assert names["ratings.shop.svc.cluster.local"]["addresses"] == ["10.96.0.10"]
    one = json.loads(pod.inside.run("curl", "-s", "http://127.0.0.1:15000/dns?name=RATINGS.shop.&type=A"))
    assert (one["addresses"], one["asked_on"]) == (["10.96.0.10"], "")
    other = json.loads(pod.inside.run("curl", "-s", "http://127.0.0.1:15000/dns?name=elsewhere.test"))
    assert other["asked_on"] == "elsewhere.test"
    told = pod.inside.run(*WEFT, "proxy-config", "dns", "127.0.0.1:15000", "--ask", "elsewhere.test")
    assert told.splitlines()[1].split(maxsplit=1) == ["elsewhere.test", "asks the machine's resolvers"]
    assert "type is one of" in pod.inside.run("curl", "-s", "http://127.0.0.1:15000/dns?name=a&type=MX")


def test_an_upgrade_in_place_keeps_the_port_and_a_refused_one_too(pod: Pod) -> None:
    said = {"trio": "upgrading in place", "envoy": "no upgrade"}[pod.engine]
    os.kill(pod.inside.started[-1].pid, signal.SIGUSR2)
    deadline = time.monotonic() + 30
    while said not in (pod.folder / "log").read_text():
        assert time.monotonic() < deadline, (pod.folder / "log").read_text()
        time.sleep(0.1)
    # Queries wait in the sockets that were handed over until the new program has its slice.
    pod.wait_until("ratings.shop.svc.cluster.local", "10.96.0.10")
    assert pod.ask("ratings", over="tcp") == "NOERROR 10.96.0.10"
