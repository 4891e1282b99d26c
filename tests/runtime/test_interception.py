"""Transparent interception: in a network namespace whose kernel really redirects, and by value."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
import trio

from policies.probe import Probe, TcpProbe
from runtime.bootstrap import Bootstrap
from runtime.health.asking import ask
from runtime.interception import Interception, intercepting, redirected_to
from runtime.ipc import LiveUpdate
from runtime.pages.config import config_dump
from runtime.supervisor.engines import Served
from runtime.supervisor.leaving import Leaving
from runtime.supervisor.running import Running
from runtime.supervisor.sockets import Sockets
from snapshot.index import Selector, assemble
from snapshot.section import HttpChain, TcpChain
from snapshot.store_directory import DirectoryStore
from tests.compiler.compiled import compiled
from tests.namespaces import Namespace, require_namespaces, wire
from tests.stores import release_mesh, signing_keys

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
GROUP = "1337"
"""What processes of this group send is not redirected."""

POD, PEER = "10.1.0.2", "10.1.0.1"
MESH = f"""
apiVersion: v1
kind: Service
metadata: {{name: app, namespace: shop}}
spec: {{selector: {{app: app}}, clusterIP: 10.96.0.9, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: app, namespace: shop, labels: {{app: app}}}}
spec: {{containers: [{{name: a, image: a}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ratings, namespace: shop}}
spec:
  hosts: [ratings.test]
  addresses: [10.96.0.10]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {PEER}, ports: {{http: 9000}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: database, namespace: shop}}
spec:
  hosts: [database.test]
  addresses: [10.96.1.0/24]
  ports: [{{number: 6000, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: {PEER}, ports: {{tcp: 7000}}}}]
"""
RULES = f"""
table inet mesh {{
  chain out {{
    type nat hook output priority -100; policy accept;
    meta skgid {GROUP} return
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
SERVERS = """
import http.server, socketserver, sys, threading
class Say(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.server.name} {self.headers['host']}".encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
class Greet(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b"greetings first\\n"); self.request.recv(10)
kind, host, port, name = sys.argv[1:]
made = http.server.ThreadingHTTPServer if kind == "http" else socketserver.ThreadingTCPServer
made.allow_reuse_address = True
made.server_bind = socketserver.TCPServer.server_bind  # HTTPServer's asks the DNS for its own name.
server = made((host, int(port)), Say if kind == "http" else Greet); server.name = name
server.serve_forever()
"""


def prepared_sidecar() -> Interception:
    return Interception(intercepting(compiled(MESH).slice("sidecar/shop/app")), BOOTSTRAP)


BOOTSTRAP = Bootstrap(Selector(), "", "", "", interception="redirect")


@pytest.mark.parametrize(
    ("direction", "target", "listener"),
    [
        ("inbound", (POD, 8080), "inbound|8080"),
        ("inbound", (POD, 81), "undeclared|0"),
        ("inbound", (POD, 15006), ""),
        ("inbound", (POD, 15001), ""),
        ("outbound", ("192.0.2.1", 15001), ""),
        ("outbound", ("192.0.2.1", 15006), ""),
        ("outbound", ("10.96.0.10", 9080), "ratings.test:9080"),
        ("outbound", ("10.96.1.77", 6000), "database.test:6000"),
        ("outbound", ("10.96.1.77", 6001), "intercepted|0"),
        ("outbound", ("192.0.2.1", 9080), "intercepted|9080"),
        ("outbound", ("192.0.2.1", 5432), "intercepted|0"),
    ],
)
def test_a_connection_goes_to_who_has_the_address_else_the_port(
    direction: str, target: tuple[str, int], listener: str
) -> None:
    assert prepared_sidecar().find(direction, target) == listener


def test_what_nobody_knows_goes_on_or_nowhere_as_the_policy_says() -> None:
    closed = "apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {name: m}\nspec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n"
    for texts, clusters in (((MESH,), ["PassthroughCluster"]), ((MESH, closed), [])):
        prepared = intercepting(compiled(*texts).slice("sidecar/shop/app"))
        http, tcp = prepared.listeners["intercepted|0"].chains
        assert isinstance(http.network, HttpChain)
        assert isinstance(tcp.network, TcpChain)
        assert [one.cluster for one in tcp.network.destinations] == clusters


def test_a_proxy_that_does_not_intercept_binds_nothing_for_it() -> None:
    assert redirected_to(Bootstrap(Selector(), "", "", "")) == {}
    bound = redirected_to(BOOTSTRAP)
    assert ("0.0.0.0", 15006) in bound["inbound"]


@pytest.fixture(scope="module", params=["trio", "envoy"])
def pod(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Namespace, Namespace]]:
    """A pod's namespace with a sidecar of either engine and its application, and a peer's beside it."""
    require_namespaces()
    folder = tmp_path_factory.mktemp("pod")
    inside, peer = Namespace(), Namespace()
    try:
        wire(inside, POD, peer, PEER)
        (folder / "rules.nft").write_text(RULES)
        inside.run("nft", "-f", str(folder / "rules.nft"))
        for kind, host, port, name in (
            ("http", PEER, 9000, "ratings"),
            ("tcp", PEER, 7000, "database"),
            ("http", PEER, 80, "web"),
        ):
            peer.start(sys.executable, "-c", SERVERS, kind, host, str(port), name)
        for host, port, name in (
            ("0.0.0.0", 8080, "application"),
            (POD, 81, "undeclared"),
            ("127.0.0.1", 82, "private"),
        ):
            inside.start(sys.executable, "-c", SERVERS, "http", host, str(port), name)
        _start_sidecar(inside, folder, request.param)
        yield inside, peer
    finally:
        inside.end()
        peer.end()


def _start_sidecar(inside: Namespace, folder: Path, engine: str) -> None:
    (folder / "root.json").write_bytes(signing_keys().root)
    release_mesh(DirectoryStore(folder / "store"), compiled(MESH).snapshot)
    (folder / "sidecar.toml").write_text(
        'store = "store"\nroot = "root.json"\nstate = "state"\nselector = {name = "sidecar/shop/app"}\nstamp = true\n'
        f'address = "{POD}"\ninterception = "redirect"\nengine = "{engine}"\n'
    )
    command = ["setpriv", "--regid", GROUP, "--clear-groups", *WEFT, "proxy", "sidecar", "--bootstrap"]
    inside.start(*command, str(folder / "sidecar.toml"), log=folder / "log")
    deadline = time.monotonic() + 20
    while "LIVE" not in inside.run("curl", "-s", "http://127.0.0.1:15000/ready", check=False):
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)


def curl(where: Namespace, url: str, *more: str) -> str:
    return where.run("curl", "-s", "-i", "--max-time", "10", *more, url, check=False)


GREETED = "import socket,sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(99).decode())"


@pytest.mark.integration
def test_http_to_a_services_address_is_routed_and_says_so(pod: tuple[Namespace, Namespace]) -> None:
    inside, _ = pod
    reply = curl(inside, "http://10.96.0.10:9080/", "-H", "host: ratings.test")
    assert ("200 OK" in reply, "x-weft-snapshot: app=" in reply) == (True, True), reply
    assert reply.endswith("ratings ratings.test")


@pytest.mark.integration
def test_http_by_port_finds_its_way_by_host(pod: tuple[Namespace, Namespace]) -> None:
    reply = curl(pod[0], "http://192.0.2.1:9080/", "-H", "host: ratings.test")
    assert reply.endswith("ratings ratings.test"), reply


@pytest.mark.integration
def test_a_service_of_bytes_is_reached_by_its_block_of_addresses_though_the_server_speaks_first(
    pod: tuple[Namespace, Namespace],
) -> None:
    inside, _ = pod
    assert inside.run(sys.executable, "-c", GREETED, "10.96.1.77", "6000") == "greetings first\n\n"


@pytest.mark.integration
def test_what_nobody_knows_goes_where_it_was_going_whatever_its_host_says(pod: tuple[Namespace, Namespace]) -> None:
    inside, _ = pod
    reply = curl(inside, f"http://{PEER}/", "-H", "host: somewhere.example")
    assert ("x-weft-snapshot: app=" in reply, reply.endswith("web somewhere.example")) == (True, True), reply
    assert inside.run(sys.executable, "-c", GREETED, PEER, "7000") == "greetings first\n\n"


@pytest.mark.integration
def test_what_comes_in_reaches_the_application_through_the_sidecar(pod: tuple[Namespace, Namespace]) -> None:
    _, peer = pod
    reply = curl(peer, f"http://{POD}:8080/")
    assert ("x-weft-snapshot: app=" in reply, reply.endswith(f"application {POD}:8080")) == (True, True), reply


@pytest.mark.integration
def test_what_comes_to_a_port_that_no_service_declares_goes_on_to_where_it_was_going(
    pod: tuple[Namespace, Namespace],
) -> None:
    reply = curl(pod[1], f"http://{POD}:81/")
    assert ("x-weft-snapshot: app=" in reply, reply.endswith(f"undeclared {POD}:81")) == (True, True), reply


@pytest.mark.integration
def test_what_listens_on_loopback_alone_is_not_reached_from_outside(pod: tuple[Namespace, Namespace]) -> None:
    assert "503 Service Unavailable" in curl(pod[1], f"http://{POD}:82/")


@pytest.mark.integration
@pytest.mark.parametrize("port", [15001, 15006])
def test_a_call_to_the_proxys_own_ports_is_refused(pod: tuple[Namespace, Namespace], port: int) -> None:
    assert [curl(one, f"http://{POD}:{port}/") for one in pod] == ["", ""]


@pytest.mark.integration
def test_who_asks_the_outbound_port_itself_gets_the_explicit_proxy(pod: tuple[Namespace, Namespace]) -> None:
    reply = curl(pod[0], "http://ratings.test:9080/", "--proxy", "http://127.0.0.1:15001")
    assert reply.endswith("ratings ratings.test:9080"), reply


def test_the_dump_says_where_redirected_connections_come_from_and_go() -> None:
    mesh = compiled(MESH)
    (entry,) = (one for one in mesh.snapshot.index.slices if one.name == "sidecar/shop/app")
    dump = config_dump(assemble(mesh.snapshot.digest, entry, mesh.snapshot.blobs), BOOTSTRAP, None, 0.0)
    kinds = {one["@type"].rpartition(".")[2]: one for one in dump["configs"]}
    listeners = {
        one["name"]: one["active_state"]["listener"] for one in kinds["ListenersConfigDump"]["dynamic_listeners"]
    }
    clusters = [one["cluster"] for one in kinds["ClustersConfigDump"]["dynamic_active_clusters"]]

    def where(name: str) -> tuple[str, int]:
        place = listeners[name]["address"]["socket_address"]
        return place["address"], place["port_value"]

    assert where("inbound|8080") == ("0.0.0.0", 15006)
    assert {one["filter_chain_match"]["destination_port"] for one in listeners["inbound|8080"]["filter_chains"]} == {
        8080
    }
    assert where("ratings.test:9080") == ("10.96.0.10", 9080)
    assert where("intercepted|9080") == ("0.0.0.0", 9080)
    assert where("virtualOutbound") == ("127.0.0.1", 15001)
    assert {one["name"]: one["type"] for one in clusters}["inbound|8080||"] == "ORIGINAL_DST"


@pytest.mark.integration
def test_open_connections_are_shown_as_redirected(
    pod: tuple[Namespace, Namespace], request: pytest.FixtureRequest
) -> None:
    inside, _ = pod
    held = "import socket,sys,urllib.request as u; s=socket.create_connection(('10.96.1.77',6000)); s.recv(9); "
    shown = inside.run(
        sys.executable, "-c", f"{held}print(u.urlopen('http://127.0.0.1:15000/connections').read().decode())"
    )
    found = [one for one in json.loads(shown)["connections"] if one["listener"] == "database.test:6000"]
    shown_as = [(one["destination"], one["intercepted"]) for one in found]
    # Envoy does not tell which connections it has.
    assert shown_as == ([] if "envoy" in request.node.name else [("10.96.1.77:6000", True)])


class Told:
    """A fleet that notes what it is told to close."""

    closed: tuple[str, ...] = ()

    async def update(self, live: LiveUpdate) -> None:
        self.closed = live.closed or ()


@pytest.mark.parametrize(("inbound_only", "kept"), [(True, True), (False, False)])
async def test_who_listens_no_more_listens_no_more_where_the_kernel_redirects_to(
    inbound_only: bool, kept: bool
) -> None:
    told = Told()
    leaving = Leaving(
        BOOTSTRAP,
        cast("Running", SimpleNamespace(deployed=None)),
        cast("Served", told),
        Sockets(workers=0),
        on_change=lambda: None,
        withdraw=trio.lowlevel.checkpoint,
    )
    await leaving.drain_listeners(graceful=False, inbound_only=inbound_only, keep_open=False)
    assert "0.0.0.0:15006" in told.closed
    outbound = [f"{host}:{port}" for host, port in redirected_to(BOOTSTRAP)["outbound"]]
    assert kept or set(outbound) <= set(told.closed)
    assert not (kept and set(outbound) & set(told.closed))


async def test_an_application_is_asked_for_its_health_where_its_clients_reach_it() -> None:
    listener = await trio.open_tcp_listeners(0, host="127.0.0.7")
    port = listener[0].socket.getsockname()[1]
    probe = Probe(TcpProbe(port))
    here = msgspec.structs.replace(BOOTSTRAP, address="127.0.0.7")
    assert await ask(probe, here) == ""
    assert await ask(probe, msgspec.structs.replace(here, interception="none")) != ""
    for one in listener:
        await one.aclose()
