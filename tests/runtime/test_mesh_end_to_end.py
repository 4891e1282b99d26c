"""A mesh that is really there: YAML compiled and signed, a control plane, two sidecars with real workers, and an application behind one.

Each test has loopback addresses of its own, so that the mesh's usual ports can be used and tests run side by side.
"""

from __future__ import annotations

import itertools
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from compiler.pipeline import compile_tree
from compiler.worktree import WorkTree
from runtime.bootstrap import Bootstrap, Ports
from runtime.control.server import ControlPlane, ControlSettings, open_control_plane
from runtime.supervisor.supervisor import Supervisor
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload
from snapshot.store_directory import DirectoryStore
from tests.echo import Echo
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration

DOMAIN = "cluster.local"
_networks = itertools.count(1)

WORKLOAD = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: 9080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: shop}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      serviceAccountName: NAME
      containers: [{name: NAME, image: NAME, ports: [{containerPort: 9080}]}]
---
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-web, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/web"]}}]}]
"""


class Mesh:
    """Folders, addresses and settings of one mesh."""

    def __init__(self, folder: Path, *, svid_ttl_s: float = 86_400.0) -> None:
        self.folder = folder
        # 127.0.0.0/8 is all loopback: one /24 per process and test.
        self.network = f"127.{64 + os.getpid() % 128}.{next(_networks) + os.getpid() // 128 % 100}"
        (folder / "root.json").write_bytes(signing_keys().root)
        (folder / "mesh").mkdir()
        self.settings = ControlSettings(
            folder / "control",
            folder / "store",
            (f"{self.network}.1", 15012),
            (f"{self.network}.1", 0),
            DOMAIN,
            svid_ttl_s=svid_ttl_s,
        )
        self.plane: ControlPlane | None = None

    def publish(self, **files: str) -> str:
        """Compiles web, reviews, STRICT and more files; publishes."""
        texts = {"web": WORKLOAD.replace("NAME", "web"), "reviews": WORKLOAD.replace("NAME", "reviews"), "tls": STRICT}
        for old in (self.folder / "mesh").iterdir():
            old.unlink()
        for name, text in (texts | files).items():
            (self.folder / "mesh" / f"{name}.yaml").write_text(text)
        compiled = compile_tree(WorkTree(self.folder / "mesh"))
        assert compiled.snapshot is not None, compiled.diagnostics
        return release_mesh(DirectoryStore(self.folder / "store"), compiled.snapshot).snapshot

    def address(self, name: str) -> str:
        return f"{self.network}.{ {'web': 10, 'reviews': 20}[name] }"

    def replica(self, name: str) -> Bootstrap:
        """The bootstrap of a second instance, at the next address."""
        first = self.bootstrap(name)
        return msgspec.structs.replace(first, address=f"{self.network}.99", state=f"{first.state}.second")

    def bootstrap(self, name: str, *, account: str = "") -> Bootstrap:
        """A sidecar's bootstrap; ``account`` gives it a token for another service account than its own."""
        assert self.plane is not None
        (self.folder / "ca.pem").write_bytes(self.plane.issuance.authority.bundle)
        identity = f"spiffe://{DOMAIN}/ns/shop/sa/{account or name}"
        token = self.plane.issuance._ledger.create_token(identity, now=time.time(), ttl_s=60, uses=1)
        (self.folder / f"{name}.token").write_text(token)
        return Bootstrap(
            selector=Selector(namespace="shop", labels=(("app", name),)),
            store=str(self.folder / "store"),
            root=str(self.folder / "root.json"),
            state=str(self.folder / f"{name}.state"),
            address=self.address(name),
            application=f"{self.network}.200",
            control=self.control_url(),
            control_ca=str(self.folder / "ca.pem"),
            join_token=str(self.folder / f"{name}.token"),
            ports=Ports(metrics=-1, merged_metrics=-1),
            poll_s=0.05,
            stamp=True,
        )

    def control_url(self) -> str:
        """Where the control plane is."""
        return f"https://{self.network}.1:15012"

    def web_client(self) -> httpx.AsyncClient:
        """The application beside the web sidecar: everything goes through the sidecar's explicit proxy."""
        return httpx.AsyncClient(proxy=f"http://{self.address('web')}:15001", trust_env=False, timeout=10.0)


@asynccontextmanager
async def control_plane(mesh: Mesh) -> AsyncIterator[ControlPlane]:
    mesh.plane = open_control_plane(mesh.settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.plane.run)
        yield mesh.plane
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def sidecar(bootstrap: Bootstrap) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(bootstrap)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        yield supervisor
        supervisor.stop()


async def until(condition: Callable[[], object], limit_s: float = 15.0) -> None:
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110  the state of another process
            await trio.sleep(0.005)


@asynccontextmanager
async def pair(mesh: Mesh) -> AsyncIterator[tuple[Supervisor, Supervisor, Echo]]:
    """Web and reviews, each with its sidecar; an echo application behind reviews; both ready and registered."""
    echo = Echo("reviews", address=f"{mesh.network}.200", port=9080)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(echo.serve)
        web = await stack.enter_async_context(sidecar(mesh.bootstrap("web")))
        reviews = await stack.enter_async_context(sidecar(mesh.bootstrap("reviews")))
        await until(lambda: not web.not_ready() and not reviews.not_ready())
        await until(lambda: mesh.plane and len(mesh.plane.registry.leases) == 2)
        version = mesh.plane.registry.board.version if mesh.plane else 0
        await until(lambda: web.running.instruments.value("weft_registry_version") >= version)
        yield web, reviews, echo
        nursery.cancel_scope.cancel()


def runs(digest: str, *supervisors: Supervisor) -> Callable[[], bool]:
    def check() -> bool:
        deployed = [one.running.deployed for one in supervisors]
        return all(one is not None and one.verified.slice.snapshot == digest for one in deployed)

    return check


async def require_identities(client: httpx.AsyncClient, digest: str) -> None:
    """One request from web to reviews: both sides are who they should be, and both hops run the snapshot."""
    reply = await client.get("http://reviews.shop/a?b=c")
    assert reply.status_code == 200, reply.text
    seen = reply.json()
    assert (seen["service"], seen["path"]) == ("reviews", "/a?b=c")
    certificate = seen["headers"]["x-forwarded-client-cert"][0]
    assert f"URI=spiffe://{DOMAIN}/ns/shop/sa/web" in certificate
    assert f"By=spiffe://{DOMAIN}/ns/shop/sa/reviews" in certificate
    stamps = [stamp for value in reply.headers.get_list("x-weft-snapshot") for stamp in value.split(",")]
    assert {stamp.partition("=")[2] for stamp in stamps} == {digest[:12]}


async def test_a_request_goes_from_sidecar_to_sidecar_under_mutual_tls(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    digest = mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, _, echo), mesh.web_client() as client:
        await require_identities(client, digest)
        assert len(echo.seen) == 1


async def test_a_published_policy_is_live_within_a_second_and_so_is_its_removal(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (web, reviews, _), mesh.web_client() as client:
        assert (await client.get("http://reviews.shop/")).status_code == 200
        for files, status in (({"deny": DENY}, 403), ({}, 200)):
            begin = trio.current_time()
            digest = mesh.publish(**files)
            while (await client.get("http://reviews.shop/")).status_code != status:
                assert trio.current_time() - begin < 1.0
            await until(runs(digest, web, reviews), 2.0)


async def refused_by(stream: trio.abc.Stream) -> None:
    """The peer ends the connection without an answer. Under TLS 1.3 it does so only after the client's side of the handshake is done."""
    async with stream:
        with trio.fail_after(5):
            try:
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")
                assert await stream.receive_some(100) == b""
            except trio.BrokenResourceError:
                pass


async def test_status_waits_until_every_proxy_runs_the_newest_release(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    async with control_plane(mesh), pair(mesh):
        digest = mesh.publish(deny=DENY)
        weft = [sys.executable, "-c", "from weft.cli import main; main()", "status", "--control", mesh.control_url()]
        arguments = [*weft, "--ca", str(tmp_path / "ca.pem"), "--wait", "--timeout", "20", "-o", "json"]
        done = await trio.run_process(arguments, capture_stdout=True)
        report = msgspec.json.decode(done.stdout)
        assert report["published"] == {"stable": 2}
        assert {(one["name"], one["version"], one["snapshot"]) for one in report["proxies"]} == {
            ("web", 2, digest),
            ("reviews", 2, digest),
        }


async def test_plain_text_to_a_strict_port_is_refused(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, _, echo):
        await refused_by(await trio.open_tcp_stream(mesh.address("reviews"), 9080))
        assert echo.seen == []


async def test_a_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, _, echo):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["istio"])
        raw = await trio.open_tcp_stream(mesh.address("reviews"), 9080)
        await refused_by(trio.SSLStream(raw, context))
        assert echo.seen == []


async def test_an_upstream_with_another_service_accounts_certificate_gets_no_traffic(tmp_path: Path) -> None:
    """At the registered address of reviews stands a sidecar with a valid certificate of another account: secure naming refuses it."""
    mesh = Mesh(tmp_path)
    mesh.publish()
    echo = Echo("reviews", address=f"{mesh.network}.200", port=9080)
    async with control_plane(mesh) as plane, trio.open_nursery() as nursery:
        await nursery.start(echo.serve)
        wrong = mesh.bootstrap("reviews", account="web")
        async with sidecar(mesh.bootstrap("web")) as web, sidecar(wrong) as impostor:
            await until(lambda: impostor.running.svid and impostor.running.deployed and not web.not_ready())
            assert "the certificate is for" in impostor.not_ready()
            identity = f"spiffe://{DOMAIN}/ns/shop/sa/reviews"
            left = RegisteredWorkload("shop", "reviews", mesh.address("reviews"), (("app", "reviews"),), identity)
            plane.registry.leases.register(left, trio.current_time())
            version = plane.registry.board.advance()
            await until(lambda: web.running.instruments.value("weft_registry_version") >= version)
            async with mesh.web_client() as client:
                assert (await client.get("http://reviews.shop/")).status_code == 503
        assert echo.seen == []
        nursery.cancel_scope.cancel()


async def test_a_killed_worker_is_replaced_and_serves_again_within_a_second(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (_, reviews, _), mesh.web_client() as client:
        assert (await client.get("http://reviews.shop/")).status_code == 200
        begin = trio.current_time()
        os.kill(reviews.workers()[0], signal.SIGKILL)
        await until(lambda: reviews.restarts == 1 and reviews.workers(), 5.0)
        assert trio.current_time() - begin < 2.0
        assert (await client.get("http://reviews.shop/")).status_code == 200


async def test_an_instance_that_ends_loses_no_request_while_another_serves(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.publish()
    statuses: list[int] = []
    async with control_plane(mesh) as plane, pair(mesh) as (_, reviews, _), sidecar(mesh.replica("reviews")) as second:
        await until(lambda: not second.not_ready() and len(plane.registry.leases) == 3)
        async with mesh.web_client() as client, trio.open_nursery() as nursery:

            async def ask() -> None:
                while True:
                    statuses.append((await client.get("http://reviews.shop/")).status_code)

            for _ in range(4):
                nursery.start_soon(ask)
            await until(lambda: len(statuses) > 50)
            reviews.stop()
            await until(lambda: len(plane.registry.leases) == 2)
            seen = len(statuses)
            await until(lambda: len(statuses) > seen + 300)
            nursery.cancel_scope.cancel()
    assert set(statuses) == {200}


async def test_a_restart_with_store_and_control_plane_gone_serves_from_disk(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    digest = mesh.publish()
    async with control_plane(mesh):
        bootstraps = [mesh.bootstrap("web"), mesh.bootstrap("reviews")]
        async with sidecar(bootstraps[0]) as web, sidecar(bootstraps[1]) as reviews:
            await until(lambda: not web.not_ready() and not reviews.not_ready())
            await until(lambda: mesh.plane and len(mesh.plane.registry.leases) == 2)
            saved = Path(bootstraps[0].state) / "registry.json"
            await until(lambda: saved.exists() and saved.read_bytes().count(b'"identity"') == 2)
            # They end without a word, as on a crash: their registrations stay.
            for one in (web, reviews):
                one._registration = None
    (tmp_path / "store").rename(tmp_path / "gone")
    echo = Echo("reviews", address=f"{mesh.network}.200", port=9080)
    async with trio.open_nursery() as nursery:
        await nursery.start(echo.serve)
        async with sidecar(bootstraps[0]) as web, sidecar(bootstraps[1]) as reviews, mesh.web_client() as client:
            await until(runs(digest, web, reviews))
            await until(lambda: not web.not_ready() and not reviews.not_ready())
            assert (await client.get("http://reviews.shop/")).status_code == 200
        nursery.cancel_scope.cancel()


async def test_rotation_closes_no_connection(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, svid_ttl_s=6.0)
    mesh.publish()
    async with control_plane(mesh), pair(mesh) as (web, reviews, _), mesh.web_client() as client:
        first = (web.running.svid, reviews.running.svid)
        statuses = []
        with trio.fail_after(20):
            while web.running.svid == first[0] or reviews.running.svid == first[1]:
                statuses.append((await client.get("http://reviews.shop/")).status_code)
        for _ in range(20):
            statuses.append((await client.get("http://reviews.shop/")).status_code)
        assert set(statuses) == {200}
