"""A gateway whose engine is Envoy, from a hand-made slice: TLS with keys from files, drains, refusals that only Envoy knows of."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from policies.match import PathPrefix
from policies.traffic import Forward, Rewrite
from runtime.bootstrap import Bootstrap, Ports
from runtime.supervisor.supervisor import Supervisor
from snapshot.index import Selector
from snapshot.live import Credential
from snapshot.section import (
    CredentialSlot,
    FilterChain,
    GatewayPort,
    HttpChain,
    Listener,
    Proxy,
    Route,
    Section,
    ServerTls,
)
from snapshot.store_directory import DirectoryStore
from tests.ports import free_port
from tests.runtime.authority import Authority
from tests.runtime.test_mesh_end_to_end import until
from tests.slices import SOURCE, WORKLOAD, cluster, host_sections, route, snapshot_of, table
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration

SLOT = "default/front"


class Bench:
    """A store, a gateway's bootstrap, a back end that answers when it is told to, and a folder of keys."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder / "store")
        self.credentials = folder / "credentials"
        (folder / "root.json").write_bytes(signing_keys().root)
        self.port = free_port("127.0.0.1")
        self.authority = Authority()
        self.backend = 0
        self.asked = trio.Event()
        self.may_answer = trio.Event()
        self.bootstrap = Bootstrap(
            selector=Selector(name="test"),
            store=str(folder / "store"),
            root=str(folder / "root.json"),
            state=str(folder / "state"),
            credentials=str(self.credentials),
            ports=Ports(admin=-1, outbound=0, metrics=-1, merged_metrics=-1, readiness=-1),
            poll_s=0.05,
            engine="envoy",
        )

    def write_key(self) -> Credential:
        made = self.authority.credential(SLOT, "front.test")
        folder = self.credentials / SLOT
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.crt").write_bytes(made.certificate_chain)
        (folder / "tls.key").write_bytes(made.private_key)
        return made

    def publish(self, *routes: Route, tls: bool = False) -> str:
        settings = ServerTls((SLOT,)) if tls else None
        chain = FilterChain("http", SOURCE, HttpChain("80", edge=True), tls=settings)
        sections: list[Section] = [
            Proxy(WORKLOAD, "cluster.local", credentials=(CredentialSlot(SLOT),) if tls else ()),
            Listener("front", SOURCE, "gateway", GatewayPort(self.port), "http", (chain,)),
            table(),
            *host_sections("h", ["*"], routes or (route(),)),
            cluster("a", ("127.0.0.1", self.backend)),
        ]
        return release_mesh(self.store, snapshot_of({"test": sections})).snapshot

    async def answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            while await stream.receive_some(65536):
                self.asked.set()
                await self.may_answer.wait()
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback")

    async def ask(self, stream: trio.abc.Stream) -> bytes:
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: front.test\r\n\r\n")
        return bytes(await stream.receive_some(65536))


@asynccontextmanager
async def gateway(bench: Bench) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(bench.bootstrap)
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            yield supervisor
            supervisor.stop()


@asynccontextmanager
async def back_end(bench: Bench) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        bench.backend = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, bench.answer, listeners)
        yield
        nursery.cancel_scope.cancel()


async def serial(bench: Bench) -> int | None:
    """The certificate that the gateway shows, or None where it shows none."""
    context = ssl.create_default_context(cadata=bench.authority.bundle.decode())
    try:
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", bench.port), context, server_hostname="front.test"
        )
        with trio.fail_after(5):
            await stream.do_handshake()
    except (OSError, trio.BrokenResourceError):
        return None
    async with stream:
        assert b"back" in await bench.ask(stream)
        return int(stream.getpeercert()["serialNumber"], 16)


async def test_keys_come_from_files_and_are_replaced_without_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.may_answer.set()
    bench.write_key()
    async with back_end(bench):
        bench.publish(tls=True)
        async with gateway(bench) as supervisor:
            await until(lambda: not supervisor.not_ready())
            first, pid = await serial(bench), supervisor.workers()[0]
            assert first is not None
            bench.write_key()
            with trio.fail_after(10):
                while await serial(bench) == first:  # noqa: ASYNC110  what Envoy shows
                    await trio.sleep(0.05)
            assert supervisor.workers()[0] == pid


async def test_what_is_in_flight_is_finished_before_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    replies: list[bytes] = []

    async def client() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", bench.port) as stream:
            replies.append(await bench.ask(stream))

    async with back_end(bench):
        bench.publish()
        async with trio.open_nursery() as nursery:
            async with gateway(bench) as supervisor:
                await until(lambda: not supervisor.not_ready())
                nursery.start_soon(client)
                await bench.asked.wait()
                supervisor.stop()
                await trio.sleep(0.3)
                assert supervisor.workers() != {}, "Envoy must wait for the request"
                bench.may_answer.set()
    assert replies[0].startswith(b"HTTP/1.1 200")


async def test_clients_that_are_idle_do_not_delay_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.may_answer.set()
    async with back_end(bench):
        bench.publish()
        async with gateway(bench) as supervisor:
            await until(lambda: not supervisor.not_ready())
            stream = await trio.open_tcp_stream("127.0.0.1", bench.port)
            assert b"back" in await bench.ask(stream)
            begin = trio.current_time()
        assert trio.current_time() - begin < 3.0
        await stream.aclose()


async def test_what_only_envoy_refuses_is_refused_before_the_serving_envoy_hears_of_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.may_answer.set()
    async with back_end(bench):
        digest = bench.publish()
        async with gateway(bench) as supervisor:
            await until(lambda: not supervisor.not_ready())
            rewrite = Rewrite(prefix="/x", authority="no\nauthority")
            bench.publish(route(PathPrefix("/"), action=Forward(route().action.destinations, rewrite)))  # type: ignore[union-attr]
            await until(lambda: supervisor.running.refused)
            refused = supervisor.running.refused
            assert refused is not None
            assert refused.reason == "engine"
            assert "Proto constraint validation failed" in refused.message
            deployed = supervisor.running.deployed
            assert deployed is not None
            assert deployed.verified.slice.snapshot == digest
            async with await trio.open_tcp_stream("127.0.0.1", bench.port) as stream:
                assert (await bench.ask(stream)).startswith(b"HTTP/1.1 200")
