"""A Sidecar's own listeners through a whole data plane: from the YAML to the application, over TCP and Unix sockets."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trio
from cryptography import x509

from snapshot.index import Slice
from snapshot.live import Credential
from snapshot.prepared import prepare
from snapshot.slots import KeyFiles
from tests.compiler.compiled import compilation
from tests.echo import Echo
from tests.echo import running as echoing
from tests.proxies import running, slice_named
from tests.runtime.authority import Authority
from tests.runtime.envoy_export import exported, objections

pytestmark = pytest.mark.integration

WORKLOAD = """\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
spec: {containers: [{name: a, image: a}]}
"""
STRICTLY_PLAIN = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""


def entry(echo: Echo, *, port: int = 9000, protocol: str = "HTTP") -> str:
    """A host of the test's own at an echo's address."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {echo.name}, namespace: shop}}
spec:
  hosts: [{echo.name}.test]
  ports: [{{number: {port}, name: p, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: {echo.address}, ports: {{p: {echo.port}}}}}]
"""


def sidecar(spec: str) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: own, namespace: shop}}\nspec:\n{spec}\n"
    )


def slice_of_a(*texts: str) -> Slice:
    result = compilation(WORKLOAD, STRICTLY_PLAIN, *texts)
    assert result.snapshot is not None, result.diagnostics
    return slice_named(result.snapshot, "sidecar/shop/a")


async def test_an_egress_with_an_address_serves_its_hosts_and_no_other() -> None:
    async with echoing(Echo("one"), Echo("two")) as (one, two):
        spec = """
  egress: [{port: {number: 9000, protocol: HTTP, name: h}, hosts: [./one.test], captureMode: NONE}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}"""
        async with (
            running(slice_of_a(entry(one), entry(two), sidecar(spec))) as proxy,
            httpx.AsyncClient() as client,
        ):
            url = f"http://127.0.0.1:{proxy.ports['127.0.0.1_9000']}"
            known = await client.get(url, headers={"host": "one.test:9000"})
            unknown = await client.get(url, headers={"host": "two.test:9000"})
    assert known.json()["service"] == "one"
    assert unknown.status_code == 502


async def test_a_proxy_egress_takes_absolute_requests_for_every_port_of_its_hosts() -> None:
    async with echoing(Echo("one"), Echo("two")) as (one, two):
        spec = """
  egress:
  - {port: {number: 3128, protocol: HTTP_PROXY, name: h}, hosts: ["./*"], captureMode: NONE}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}"""
        texts = (entry(one, port=9000), entry(two, port=80), sidecar(spec))
        async with running(slice_of_a(*texts)) as proxy:
            url = f"http://127.0.0.1:{proxy.ports['127.0.0.1_3128']}"
            async with httpx.AsyncClient(proxy=url) as client:
                replies = [await client.get(f"http://{host}/") for host in ("one.test:9000", "two.test")]
                refused = await client.get("http://one.test:9999/")
    assert [reply.json()["service"] for reply in replies] == ["one", "two"]
    assert refused.status_code == 502


async def test_a_unix_socket_is_an_egress(tmp_path: Path) -> None:
    path = tmp_path / "mesh.sock"
    async with echoing(Echo("one")) as (one,):
        spec = f'  egress: [{{port: {{protocol: HTTP, name: h}}, hosts: ["./*"], bind: "unix://{path}"}}]'
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with (
            running(slice_of_a(entry(one), sidecar(spec))),
            httpx.AsyncClient(transport=transport) as client,
        ):
            reply = await client.get("http://one.test:9000/")
    assert reply.json()["service"] == "one"


async def test_a_tcp_egress_passes_bytes() -> None:
    async with echoing(Echo("one")) as (one,):
        spec = '  egress: [{port: {number: 9000, protocol: TCP, name: t}, hosts: ["./*"], captureMode: NONE}]'
        async with running(slice_of_a(entry(one, protocol="TCP"), sidecar(spec))) as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.ports["127.0.0.1_9000"])
            async with stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: raw\r\nconnection: close\r\n\r\n")
                reply = b"".join([part async for part in stream])
    assert b'"service": "one"' in reply


async def test_an_ingress_leads_to_another_port_of_the_application() -> None:
    async with echoing(Echo("app")) as (app,):
        spec = (
            f"  ingress: [{{port: {{number: 9080, protocol: HTTP, name: h}}, defaultEndpoint: 127.0.0.1:{app.port}}}]"
        )
        async with running(slice_of_a(sidecar(spec))) as proxy, httpx.AsyncClient() as client:
            reply = await client.get(f"http://127.0.0.1:{proxy.ports['9080']}/", headers={"host": "app"})
    assert reply.json()["service"] == "app"


async def test_an_ingress_leads_to_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    async with echoing(Echo("app", address=str(path))):
        spec = f'  ingress: [{{port: {{number: 9080, protocol: HTTP, name: h}}, bind: 127.0.0.1, defaultEndpoint: "unix://{path}"}}]'
        async with running(slice_of_a(sidecar(spec))) as proxy, httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{proxy.ports['inbound|9080']}/"
            replies = [await client.get(url, headers={"host": "app"}) for _ in range(3)]
    assert [reply.json()["service"] for reply in replies] == ["app"] * 3


async def test_tls_of_an_ingress_ends_at_the_sidecar() -> None:
    authority = Authority()
    certificate, key = authority.issue(x509.DNSName("app.test"))
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    tls = "{mode: SIMPLE, serverCertificate: /certs/c.pem, privateKey: /certs/k.pem}"
    async with echoing(Echo("app")) as (app,):
        at = f"port: {{number: 9443, protocol: HTTPS, name: h}}, defaultEndpoint: 127.0.0.1:{app.port}"
        slice_ = slice_of_a(sidecar(f"  ingress: [{{{at}, tls: {tls}}}]"))
        held = Credential(KeyFiles("/certs/c.pem", "/certs/k.pem").slot, certificate, key)
        async with running(slice_, credentials=[held]) as proxy, httpx.AsyncClient(verify=context) as client:
            url = f"https://127.0.0.1:{proxy.ports['9443']}/"
            reply = await client.get(url, headers={"host": "app.test"}, extensions={"sni_hostname": "app.test"})
    assert reply.json()["service"] == "app"


def test_envoy_accepts_a_sidecars_own_listeners(tmp_path: Path) -> None:
    spec = f"""
  egress:
  - {{port: {{number: 3128, protocol: HTTP_PROXY, name: p}}, hosts: ["./*"], captureMode: NONE}}
  - {{port: {{number: 9000, protocol: HTTP, name: h}}, hosts: ["./*"], bind: 127.0.0.9}}
  - {{port: {{protocol: HTTP, name: u}}, hosts: ["./*"], bind: "unix://{tmp_path}/mesh.sock"}}
  - {{hosts: ["./*"]}}
  ingress:
  - {{port: {{number: 9080, protocol: HTTP, name: h}}, defaultEndpoint: "unix:///run/app.sock", connectionPool: {{tcp: {{maxConnections: 3}}}}}}
  - {{port: {{number: 9081, protocol: TCP, name: t}}, defaultEndpoint: 0.0.0.0:1234}}"""
    slice_ = slice_of_a(entry(Echo("one", port=1)), sidecar(spec))
    assert objections(exported(prepare(slice_), tmp_path)) == ""
