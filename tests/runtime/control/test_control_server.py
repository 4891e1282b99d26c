"""The control plane on real sockets: TLS as a proxy uses it, the store as a publisher uses it, and restarts."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.control.interface import ProxyStatus, SignedCertificate, SignRequest, StatusReport
from runtime.control.server import ControlPlane, ControlSettings, Started, open_control_plane
from runtime.control.timestamps import TimestampSigner
from snapshot.live import RegisteredWorkload, Registry
from snapshot.section import Proxy, Workload
from snapshot.store import Conflict, StoreError
from snapshot.store_directory import DirectoryStore
from snapshot.store_http import HttpStore
from snapshot.trust.keys import create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES, TIMESTAMP
from snapshot.trust.publisher import publish, read_published
from snapshot.trust.release import Release
from tests.slices import snapshot_of

pytestmark = pytest.mark.integration

DOMAIN = "shop.test"
REVIEWS = f"spiffe://{DOMAIN}/ns/default/sa/reviews"
LABELS = (("app", "reviews"),)
TOKEN = "publish-secret"


class Running:
    """A running control plane and what its clients need to reach it."""

    def __init__(self, plane: ControlPlane, started: Started, folder: Path) -> None:
        self.plane = plane
        self.started = started
        self.url = f"https://127.0.0.1:{started.api[1]}"
        self.monitoring = f"http://127.0.0.1:{started.monitoring[1]}"
        self.ca = folder / "control-ca.pem"
        self.ca.write_bytes(plane.issuance.authority.bundle)
        self.folder = folder

    def client(self, certificate: Path | None = None) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate:
            context.load_cert_chain(certificate)
        return httpx.AsyncClient(base_url=self.url, verify=context)

    async def join(self, identity: str = REVIEWS) -> Path:
        """Gets an SVID with a join token; returns a file with chain and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        token = self.plane.issuance._ledger.create_token(identity, now=time.time(), ttl_s=60, uses=1)
        async with self.client() as client:
            body = msgspec.json.encode(SignRequest(csr(key), token))
            reply = await client.post("/ca/sign", content=body)
        assert reply.status_code == 200, reply.text
        path = self.folder / "svid.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(
            private + msgspec.json.decode(reply.content, type=SignedCertificate).certificate_chain.encode()
        )
        return path


def csr(key: ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def settings(folder: Path, **fields: object) -> ControlSettings:
    address = ("127.0.0.1", 0)
    made = ControlSettings(folder / "state", folder / "store", address, address, DOMAIN, publish_token=TOKEN)
    return msgspec.structs.replace(made, **fields)


@asynccontextmanager
async def running(folder: Path, **fields: object) -> AsyncIterator[Running]:
    plane = open_control_plane(settings(folder, **fields))
    async with trio.open_nursery() as nursery:
        started = await nursery.start(plane.run)
        yield Running(plane, started, folder)
        nursery.cancel_scope.cancel()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys", now=dt.datetime.now(dt.UTC))
    return tmp_path / "keys"


def publish_to(
    store: DirectoryStore | HttpStore, keys: Path, note: str = "", *, age: dt.timedelta = dt.timedelta()
) -> Release:
    workload = Workload(name="reviews", namespace="default", identity=REVIEWS)
    snapshot = snapshot_of({"reviews": [Proxy(workload=workload, trust_domain=DOMAIN)]}, labels=LABELS)
    signing = load_keys(keys, PUBLISHER_ROLES)
    draft = Release(
        channel="stable", commit="c" * 40, snapshot=snapshot.digest, tree="t", compiler="test", time=1, note=note
    )
    base = read_published(store, signing.root, "stable")
    return publish(store, signing, draft, snapshot, published=base, now=dt.datetime.now(dt.UTC) - age)


async def until(condition: object, *, within_s: float = 5.0) -> None:
    with trio.fail_after(within_s):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110  what is waited for is another process's or thread's doing
            await trio.sleep(0.01)


async def test_a_proxy_joins_registers_reports_renews_and_leaves(tmp_path: Path, keys: Path) -> None:
    publish_to(DirectoryStore(tmp_path / "store"), keys)
    async with running(tmp_path, online_keys=keys) as control:
        svid = await control.join()
        async with control.client(svid) as client:
            workload = RegisteredWorkload("default", "reviews-1", "127.0.0.3", LABELS, "")
            put = await client.put("/registry/default/reviews-1", content=msgspec.json.encode(workload))
            assert put.status_code == 200, put.text
            registry = msgspec.json.decode((await client.get("/registry")).content, type=Registry)
            assert [(w.name, w.identity) for w in registry.workloads] == [("reviews-1", REVIEWS)]
            report = ProxyStatus(proxy="", namespace="default", version=1)
            put = await client.put("/status/default/reviews-1", content=msgspec.json.encode(report))
            assert put.status_code == 204, put.text
            renewal = SignRequest(csr(ec.generate_private_key(ec.SECP256R1())))
            renewed = await client.post("/ca/sign", content=msgspec.json.encode(renewal))
            assert msgspec.json.decode(renewed.content, type=SignedCertificate).identity == REVIEWS
            assert (await client.delete("/registry/default/reviews-1")).status_code == 204
        async with control.client() as anyone:
            status = msgspec.json.decode((await anyone.get("/status")).content, type=StatusReport)
            assert (status.published, [proxy.version for proxy in status.proxies]) == ({"stable": 1}, [1])
            assert (await anyone.get("/registry")).status_code == 401


async def test_a_certificate_of_another_authority_is_refused_in_the_handshake(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with running(tmp_path / "other") as other:
        foreign = await other.join()
    async with running(tmp_path) as control, control.client(foreign) as client:
        with pytest.raises(httpx.TransportError):
            await client.get("/registry")


async def test_a_hundred_readers_hear_of_one_registration(tmp_path: Path, keys: Path) -> None:
    publish_to(DirectoryStore(tmp_path / "store"), keys)
    async with running(tmp_path) as control:
        svid = await control.join()
        async with control.client(svid) as client:
            first = msgspec.json.decode((await client.get("/registry")).content, type=Registry)
            heard: list[int] = []

            async def read() -> None:
                reply = await client.get(f"/registry?version={first.version}&wait=20", timeout=25)
                heard.append(msgspec.json.decode(reply.content, type=Registry).version)

            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(read)
                workload = RegisteredWorkload("default", "reviews-1", "127.0.0.3", LABELS, "")
                await client.put("/registry/default/reviews-1", content=msgspec.json.encode(workload))
            assert heard == [first.version + 1] * 100


async def test_a_publisher_writes_over_http_and_waiting_readers_hear_of_it(tmp_path: Path, keys: Path) -> None:
    async with running(tmp_path) as control:
        store = HttpStore(f"{control.url}/store", ca=str(control.ca), token=TOKEN)
        await trio.to_thread.run_sync(publish_to, store, keys)
        await until(lambda: control.plane.publication.versions() == {"stable": 1})
        async with control.client() as client:
            first = await client.get(f"/store/{TIMESTAMP}")
            tag = {"if-none-match": first.headers["etag"]}
            assert (await client.get(f"/store/{TIMESTAMP}", headers=tag)).status_code == 304
            replies: list[httpx.Response] = []

            async def read() -> None:
                replies.append(await client.get(f"/store/{TIMESTAMP}?wait=20", headers=tag, timeout=25))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.to_thread.run_sync(publish_to, store, keys, "again")
            assert replies[0].status_code == 200
            assert replies[0].content != first.content
        await until(lambda: control.plane.publication.versions() == {"stable": 2})
        store.close()


async def test_the_store_over_http_compares_and_swaps(tmp_path: Path) -> None:
    async with running(tmp_path) as control:
        store = HttpStore(f"{control.url}/store", ca=str(control.ca), token=TOKEN)

        def use() -> None:
            store.put("a/one", b"1")
            store.put("a/one", b"1")
            with pytest.raises(Conflict):
                store.put("a/one", b"2")
            version = store.replace("a/two", b"x", expected=None)
            newer = store.replace("a/two", b"y", expected=version)
            with pytest.raises(Conflict):
                store.replace("a/two", b"z", expected=version)
            found = store.read_unless("a/two", "", max_bytes=10)
            assert found is not None
            assert (found.content, found.version) == (b"y", newer)
            assert store.read_unless("a/two", newer, max_bytes=10) is None
            assert (store.contains("a/one"), store.contains("a/three")) == (True, False)
            thief = HttpStore(f"{control.url}/store", ca=str(control.ca), token="guess")
            with pytest.raises(StoreError, match="403"):
                thief.put("a/four", b"")
            store.close()
            thief.close()

        await trio.to_thread.run_sync(use)
        async with control.client() as client:
            assert (await client.get("/store/%2e%2e/state/control.sqlite")).status_code == 404
            assert (await client.get("/store/a%00b")).status_code == 400


async def test_a_release_published_into_the_folder_is_seen_within_a_moment(tmp_path: Path, keys: Path) -> None:
    async with running(tmp_path, online_keys=keys) as control:
        assert control.plane.publication.versions() == {}
        await trio.to_thread.run_sync(publish_to, DirectoryStore(tmp_path / "store"), keys)
        await until(lambda: control.plane.publication.versions() == {"stable": 1})


async def test_a_store_that_does_not_verify_is_reported_and_the_last_good_naming_goes_on(
    tmp_path: Path, keys: Path
) -> None:
    publish_to(DirectoryStore(tmp_path / "store"), keys)
    async with running(tmp_path, online_keys=keys) as control:
        path = tmp_path / "store" / TIMESTAMP
        path.write_bytes(path.read_bytes().replace(b'"version"', b'"versiom"', 1))
        await until(lambda: control.plane.publication.problem)
        assert control.plane.publication.versions() == {"stable": 1}
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{control.monitoring}/ready")).status_code == 503
            assert "weft_control_store_problem 1" in (await client.get(f"{control.monitoring}/metrics")).text


async def test_a_timestamp_past_half_its_life_is_signed_again(tmp_path: Path, keys: Path) -> None:
    publish_to(DirectoryStore(tmp_path / "store"), keys, age=dt.timedelta(hours=13))
    before = (tmp_path / "store" / TIMESTAMP).read_bytes()
    async with running(tmp_path, online_keys=keys) as control:
        await until(lambda: control.plane.signer.signed == 1)
        await until(lambda: not control.plane.signer.is_due())
        assert (tmp_path / "store" / TIMESTAMP).read_bytes() != before
        assert control.plane.publication.versions() == {"stable": 1}, "no new release"
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"{control.monitoring}/metrics")).text
        assert "weft_control_timestamps_signed_total 1" in metrics
        assert 'weft_control_cert_expiry_seconds{role="tuf-timestamp"}' in metrics


async def test_a_timestamp_that_cannot_be_signed_is_an_alarm() -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    signer = TimestampSigner(lambda: {"timestamp": 0.0}, fail, clock=lambda: 100.0)
    assert signer.is_due()
    await signer.renew(fail)
    assert signer.failed == 1
    assert "the disk is full" in signer.problem


async def test_a_publisher_that_came_first_is_no_alarm() -> None:
    def lose() -> None:
        raise Conflict("somebody else wrote")

    signer = TimestampSigner(lambda: {"timestamp": 0.0}, lose, clock=lambda: 100.0)
    await signer.renew(lose)
    assert (signer.failed, signer.problem) == (0, "")


async def test_a_restart_keeps_authority_tokens_and_registrations(tmp_path: Path, keys: Path) -> None:
    publish_to(DirectoryStore(tmp_path / "store"), keys)
    async with running(tmp_path) as control:
        svid = await control.join()
        async with control.client(svid) as client:
            workload = RegisteredWorkload("default", "reviews-1", "127.0.0.3", LABELS, "")
            await client.put("/registry/default/reviews-1", content=msgspec.json.encode(workload))
            first = msgspec.json.decode((await client.get("/registry")).content, type=Registry)
    async with running(tmp_path, trust_domain=None) as again, again.client(svid) as client:
        second = msgspec.json.decode((await client.get("/registry")).content, type=Registry)
        assert second.workloads == first.workloads
        assert second.version > first.version
        assert not again.started.created


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    main = "import sys; from weft.cli import main; main(sys.argv[1:])"
    command = [
        sys.executable,
        "-c",
        main,
        "control",
        "--state",
        str(tmp_path / "state"),
        "--store",
        str(tmp_path / "store"),
    ]
    command += ["--listen", "127.0.0.1:0", "--monitoring", "127.0.0.1:0"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
    yield started
    if started.poll() is None:
        started.kill()
    started.wait()
    if started.stderr:
        started.stderr.close()


def test_a_port_that_is_taken_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        main = "import sys; from weft.cli import main; main(sys.argv[1:])"
        command = [
            sys.executable,
            "-c",
            main,
            "control",
            "--state",
            str(tmp_path / "s"),
            "--store",
            str(tmp_path / "t"),
        ]
        done = subprocess.run([*command, "--listen", listen], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"cannot listen on {listen}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_says_what_it_made_and_ends_cleanly(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("ready:"):
            break
    assert "made a certificate authority for trust domain cluster.local" in said[0]
    assert any("weft ca token" in line for line in said)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
