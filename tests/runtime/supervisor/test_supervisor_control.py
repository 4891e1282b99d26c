"""The supervisor against a real control plane: certificates, registration, the registry, status, and what stays when it is gone."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from policies.probe import Probe, TcpProbe
from runtime.bootstrap import Bootstrap, Ports
from runtime.control.server import ControlPlane, ControlSettings, open_control_plane
from runtime.supervisor.supervisor import Supervisor
from snapshot.index import Selector
from snapshot.section import (
    ApplicationEndpoint,
    Cluster,
    FilterChain,
    HttpChain,
    Listener,
    MeshTls,
    Proxy,
    Section,
    ServiceName,
    Workload,
    WorkloadPort,
)
from snapshot.store_directory import DirectoryStore
from tests.ports import free_port
from tests.runtime.supervisor.test_supervisor import FAKE, ROOT, until
from tests.slices import SOURCE, snapshot_of
from tests.stores import release_mesh, sections, signing_keys

pytestmark = pytest.mark.integration

DOMAIN = "shop.test"
LABELS = (("app", "reviews"),)
REVIEWS = f"spiffe://{DOMAIN}/ns/default/sa/reviews"


class Mesh:
    """A store, a control plane's settings and a sidecar's bootstrap."""

    def __init__(self, folder: Path, *, svid_ttl_s: float) -> None:
        self.folder = folder
        self.port = free_port("127.0.0.1")
        self.control_port = free_port("127.0.0.1")
        self.settings = ControlSettings(
            folder / "control",
            folder / "store",
            ("127.0.0.1", self.control_port),
            ("127.0.0.1", 0),
            DOMAIN,
            svid_ttl_s=svid_ttl_s,
        )
        (folder / "root.json").write_bytes(signing_keys().root)
        self.bootstrap = Bootstrap(
            selector=Selector(namespace="default", labels=LABELS),
            store=str(folder / "store"),
            root=str(folder / "root.json"),
            state=str(folder / "state"),
            control=f"https://127.0.0.1:{self.control_port}",
            control_ca=str(folder / "ca.pem"),
            join_token=str(folder / "token"),
            ports=Ports(admin=0, outbound=0, metrics=-1, merged_metrics=-1, readiness=-1),
        )

    def publish(self, body: str, *, identity: str = REVIEWS, probe: Probe | None = None) -> str:
        workload = Workload(name="reviews", namespace="default", identity=identity)
        chain = FilterChain("in", SOURCE, HttpChain("80"), tls=MeshTls())
        name = ServiceName("reviews", "reviews", "default")
        made: list[Section] = [
            Proxy(workload=workload, trust_domain=DOMAIN, probe=probe),
            *sections(body)[1:],
            Listener("in", SOURCE, "inbound", WorkloadPort(self.port), "http", (chain,)),
            Cluster(f"inbound|{self.port}||", name, ApplicationEndpoint(self.port), ()),
        ]
        store = DirectoryStore(self.folder / "store")
        return release_mesh(store, snapshot_of({"reviews": made}, labels=LABELS)).snapshot

    def allow(self, plane: ControlPlane, identity: str = REVIEWS) -> None:
        (self.folder / "ca.pem").write_bytes(plane.issuance.authority.bundle)
        token = plane.issuance._ledger.create_token(identity, now=time.time(), ttl_s=60, uses=1)
        (self.folder / "token").write_text(token)


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Mesh(tmp_path, svid_ttl_s=86_400.0)


@asynccontextmanager
async def control_plane(mesh: Mesh) -> AsyncIterator[ControlPlane]:
    plane = open_control_plane(mesh.settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(plane.run)
        yield plane
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def sidecar(mesh: Mesh) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(mesh.bootstrap, command=FAKE)
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            yield supervisor
            supervisor.stop()


def is_ready(supervisor: Supervisor) -> Callable[[], bool]:
    return lambda: not supervisor.not_ready()


async def test_a_sidecar_joins_registers_reports_and_leaves(mesh: Mesh) -> None:
    digest = mesh.publish("one")
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        async with sidecar(mesh) as supervisor:
            await until(is_ready(supervisor))
            assert supervisor.running.svid is not None
            assert supervisor.running.svid.identity == REVIEWS
            await until(lambda: len(plane.registry.leases) == 1)
            (registered,) = plane.registry.leases.registry(1).workloads
            assert (registered.identity, registered.labels) == (REVIEWS, LABELS)
            assert registered.ports == ((str(mesh.port), mesh.port),)
            await until(lambda: plane.status.report().proxies)
            (status,) = plane.status.report().proxies
            assert (status.snapshot, status.version, status.error) == (digest, 1, "")
            seen = msgspec.json.decode((await supervisor.ask("status"))[0])
            assert seen["svid"] == REVIEWS
        assert len(plane.registry.leases) == 0


async def test_a_sidecar_is_registered_while_its_application_answers_the_probe(mesh: Mesh) -> None:
    port = free_port("127.0.0.1")
    mesh.publish("one", probe=Probe(TcpProbe(port), period_ms=50, failures=2))
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        async with sidecar(mesh) as supervisor:
            await until(lambda: "probe fails" in supervisor.not_ready() or "not answered" in supervisor.not_ready())
            await until(lambda: supervisor.running.svid is not None)
            assert len(plane.registry.leases) == 0
            with socket.create_server(("127.0.0.1", port)):
                await until(lambda: len(plane.registry.leases) == 1)
                assert not supervisor.not_ready()
            await until(lambda: len(plane.registry.leases) == 0)
            assert "readiness probe fails" in supervisor.not_ready()


async def test_a_certificate_is_replaced_at_half_of_its_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    mesh = Mesh(tmp_path, svid_ttl_s=5.0)
    mesh.publish("one")
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        async with sidecar(mesh) as supervisor:
            await until(is_ready(supervisor))
            first = supervisor.running.svid
            assert first is not None
            await until(lambda: supervisor.running.svid != first)
            second = supervisor.running.svid
            assert second is not None
            assert second.identity == REVIEWS
            assert plane.issuance.issued == {"token": 1, "renewal": 1}


async def test_a_restart_without_control_plane_and_store_has_its_certificate_and_registry(mesh: Mesh) -> None:
    digest = mesh.publish("one")
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        async with sidecar(mesh) as supervisor:
            await until(is_ready(supervisor))
            await until((Path(mesh.bootstrap.state) / "registry.json").exists)
            first = supervisor.running.svid
    (mesh.folder / "store").rename(mesh.folder / "gone")
    async with sidecar(mesh) as supervisor:
        await until(is_ready(supervisor))
        assert supervisor.running.svid is not None
        assert first is not None
        assert supervisor.running.svid.certificate_chain == first.certificate_chain
        assert supervisor.running.deployed is not None
        assert supervisor.running.deployed.verified.slice.snapshot == digest
        await until(lambda: supervisor.running.instruments.value("weft_registry_version") > 0)


async def test_a_proxy_with_the_certificate_of_another_workload_is_not_ready_and_not_registered(mesh: Mesh) -> None:
    mesh.publish("one", identity=f"spiffe://{DOMAIN}/ns/default/sa/ratings")
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        async with sidecar(mesh) as supervisor:
            await until(lambda: supervisor.running.svid and supervisor.running.deployed)
            assert "the certificate is for" in supervisor.not_ready()
            assert len(plane.registry.leases) == 0


async def test_a_used_up_token_is_told_and_tried_again(mesh: Mesh) -> None:
    mesh.publish("one")
    async with control_plane(mesh) as plane:
        mesh.allow(plane)
        token = mesh.folder / "token"
        good = token.read_text()
        token.write_text("wrong")
        async with sidecar(mesh) as supervisor:
            await until(lambda: "token" in supervisor.identity_problem())
            token.write_text(good)
            await until(is_ready(supervisor))
            assert supervisor.identity_problem() == ""
