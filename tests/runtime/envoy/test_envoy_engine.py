"""Sidecars whose engine is a real Envoy, fed over xDS by the real supervisor: alone, together, and with sidecars of our own."""

from __future__ import annotations

import base64
import os
import signal
import ssl
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from cryptography import x509

from runtime.bootstrap import Bootstrap
from tests.ports import accepts
from tests.runtime.test_mesh_end_to_end import (
    DENY,
    DOMAIN,
    STRICT,
    WORKLOAD,
    Mesh,
    control_plane,
    pair,
    require_identities,
    runs,
    until,
)

pytestmark = pytest.mark.integration

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}, headers: {request: {set: {x-number: "NUMBER"}}}}]}]
"""
ALLOW = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/web"]}}]}]
"""
UNTRANSLATABLE = """
apiVersion: weft/v1
kind: ConnectionPolicy
metadata: {name: keeps, namespace: shop}
spec: {onPolicyChange: keep}
"""


class EnvoyMesh(Mesh):
    """A mesh in which the named sidecars run Envoy."""

    def __init__(self, folder: Path, *engines: str, svid_ttl_s: float = 86_400.0) -> None:
        super().__init__(folder, svid_ttl_s=svid_ttl_s)
        self._engines = engines

    def bootstrap(self, name: str, *, account: str = "") -> Bootstrap:
        made = super().bootstrap(name, account=account)
        return msgspec.structs.replace(made, engine="envoy") if name in self._engines else made


@pytest.mark.parametrize("engines", [("web", "reviews"), ("web",), ("reviews",)])
async def test_engines_speak_mutual_tls_with_each_other(engines: tuple[str, ...], tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, *engines)
    digest = mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, _, echo), mesh.web_client() as client:
        await require_identities(client, digest)
        assert len(echo.seen) == 1


PERMISSIVE = STRICT.replace("STRICT", "PERMISSIVE")


@pytest.mark.parametrize("tls", [STRICT, PERMISSIVE])
@pytest.mark.parametrize("engines", [("web", "reviews"), ("web",), ("reviews",)])
async def test_a_port_whose_protocol_is_not_declared_is_spoken_to_as_downstream_speaks(
    engines: tuple[str, ...], tls: str, tmp_path: Path
) -> None:
    mesh = EnvoyMesh(tmp_path, *engines)
    mesh.publish(reviews=WORKLOAD.replace("NAME", "reviews").replace("name: http,", "name: misc,"), tls=tls)
    async with control_plane(mesh), pair(mesh), mesh.web_client() as client:
        reply = await client.get("http://reviews.shop/a")
        assert reply.status_code == 200, reply.text
        assert f"URI=spiffe://{DOMAIN}/ns/shop/sa/web" in reply.json()["headers"]["x-forwarded-client-cert"][0]


@pytest.mark.parametrize("engines", [("web", "reviews"), ("web",), ("reviews",)])
async def test_a_tunnel_through_the_explicit_proxy_reaches_a_tcp_port(engines: tuple[str, ...], tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, *engines)
    mesh.publish(reviews=WORKLOAD.replace("NAME", "reviews").replace("name: http,", "name: tcp,"))
    async with control_plane(mesh), pair(mesh):
        stream = await trio.open_tcp_stream(mesh.address("web"), 15001)
        async with stream:
            with trio.fail_after(5):
                await stream.send_all(b"CONNECT reviews.shop:80 HTTP/1.1\r\nhost: reviews.shop:80\r\n\r\n")
                assert b" 200 " in await stream.receive_some(4096)
                await stream.send_all(b"GET /through HTTP/1.1\r\nhost: x\r\n\r\n")
                assert b'"path": "/through"' in await stream.receive_some(4096)


async def test_no_request_fails_while_slices_change_under_load(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "web", "reviews")
    mesh.publish()
    failed: list[str] = []
    done = trio.Event()

    async def load() -> None:
        async with mesh.web_client() as client:
            while not done.is_set():
                try:
                    reply = await client.get("http://reviews.shop/x")
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                else:
                    if reply.status_code != 200:
                        failed.append(f"{reply.status_code} {reply.text[:80]}")

    async with control_plane(mesh), pair(mesh) as (web, reviews, echo):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(load)
            for number in range(6):
                digest = mesh.publish(
                    route=ROUTE.replace("NUMBER", f"{number}"), **({"allow": ALLOW} if number % 2 else {})
                )
                await until(runs(digest, web, reviews))
            done.set()
        assert failed == []
        assert len(echo.seen) > 50


async def test_a_published_policy_is_live_soon_and_so_is_its_removal(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "web", "reviews")
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (web, reviews, _), mesh.web_client() as client:
        for files, status in (({}, 200), ({"deny": DENY}, 403), ({}, 200)):
            digest = mesh.publish(**files)
            await until(runs(digest, web, reviews))
            assert (await client.get("http://reviews.shop/")).status_code == status


async def test_a_slice_that_envoy_cannot_run_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "reviews")
    digest = mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, reviews, _), mesh.web_client() as client:
        mesh.publish(keeps=UNTRANSLATABLE)
        await until(lambda: reviews.running.refused)
        refused = reviews.running.refused
        assert refused is not None
        assert refused.reason == "engine"
        assert "on_policy_change" in refused.message
        assert runs(digest, reviews)()
        assert (await client.get("http://reviews.shop/")).status_code == 200


async def test_an_envoy_that_is_killed_comes_back_with_the_same_slice(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "reviews")
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, reviews, _), mesh.web_client() as client:
        first = reviews.workers()[0]
        os.kill(first, signal.SIGKILL)
        await until(lambda: reviews.restarts == 1 and not reviews.not_ready())
        assert reviews.workers()[0] != first
        assert (await client.get("http://reviews.shop/")).status_code == 200


async def shown(host: str, port: int) -> int:
    """The serial number of the certificate that a mesh port shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    stream = trio.SSLStream(await trio.open_tcp_stream(host, port), context, server_hostname="x")
    with trio.fail_after(5):
        await stream.do_handshake()
        der = stream.getpeercert(binary_form=True)
    await trio.aclose_forcefully(stream)
    return x509.load_der_x509_certificate(der).serial_number


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "reviews", svid_ttl_s=4.0)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, reviews, _):
        first = await shown(mesh.address("reviews"), 9080)
        pid = reviews.workers()[0]
        with trio.fail_after(15):
            while await shown(mesh.address("reviews"), 9080) == first:  # noqa: ASYNC110  what Envoy shows
                await trio.sleep(0.1)
        assert reviews.workers()[0] == pid


async def test_its_metrics_and_its_configuration_are_on_the_admin_pages(tmp_path: Path) -> None:
    mesh = EnvoyMesh(tmp_path, "web")
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (web, _, _), mesh.web_client() as client:
        await client.get("http://reviews.shop/")
        host, port = web.pages["admin"]
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://{host}:{port}") as admin:
            metrics = (await admin.get("/stats/prometheus")).text
            assert "weft_snapshot_info" in metrics
            assert "envoy_cluster_upstream_rq_total" in metrics
            assert "  weft.proxy: " in (levels := (await admin.get("/logging")).text)
            assert "  upstream: " in levels
            assert (await admin.get("/stats?format=nothing")).status_code == 400
            dump = await admin.get("/config_dump")
            assert dump.json()["configs"]
            assert web.running.svid is not None
            assert base64.b64encode(web.running.svid.private_key).decode() not in dump.text
            assert "[redacted]" in dump.text or base64.b64encode(b"[redacted]").decode() in dump.text


@pytest.mark.parametrize("engines", [("reviews",), ()], ids=["envoy", "trio"])
async def test_drained_inbound_listeners_accept_no_more_and_outbound_ones_do(
    engines: tuple[str, ...], tmp_path: Path
) -> None:
    mesh = EnvoyMesh(tmp_path, *engines)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, reviews, _):
        (inbound,) = [address for name, address in reviews.listeners().items() if name.startswith("inbound")]
        host, _, port = inbound.rpartition(":")
        outbound = mesh.address("reviews"), 15001
        assert accepts(host, int(port))
        assert accepts(*outbound)
        await reviews.leaving.set_healthy(healthy=False)
        assert reviews.not_ready()
        await reviews.leaving.drain_listeners(graceful=False, inbound_only=True, keep_open=False)
        await until(lambda: not accepts(host, int(port)))
        assert accepts(*outbound)
