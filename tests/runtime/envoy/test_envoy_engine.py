"""Sidecars whose engine is a real Envoy, fed over xDS by the real supervisor: alone, together, and with sidecars of our own."""

from __future__ import annotations

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
from tests.runtime.test_mesh_end_to_end import DENY, DOMAIN, Mesh, control_plane, pair, runs, until

pytestmark = pytest.mark.integration

UNTRANSLATABLE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-claim, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules: [{when: [{key: "request.auth.claims[group]", values: ["x"]}]}]
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
        reply = await client.get("http://reviews.shop/a?b=c")
        assert reply.status_code == 200, reply.text
        seen = reply.json()
        assert (seen["service"], seen["path"]) == ("reviews", "/a?b=c")
        certificate = seen["headers"]["x-forwarded-client-cert"][0]
        assert f"URI=spiffe://{DOMAIN}/ns/shop/sa/web" in certificate
        assert f"By=spiffe://{DOMAIN}/ns/shop/sa/reviews" in certificate
        stamps = [one for value in reply.headers.get_list("x-weft-snapshot") for one in value.split(",")]
        assert {one.partition("=")[2] for one in stamps} == {digest[:12]}
        assert len(echo.seen) == 1


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
        mesh.publish(claim=UNTRANSLATABLE)
        await until(lambda: reviews.running.refused)
        refused = reviews.running.refused
        assert refused is not None
        assert refused.reason == "engine"
        assert "claim.yaml:8:" in refused.message
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
            assert (await admin.get("/config_dump")).json()["configs"]
