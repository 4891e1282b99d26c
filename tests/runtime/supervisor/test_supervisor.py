"""The supervisor with real processes, a real store on disk, and a fake data plane behind the real frames."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from runtime.bootstrap import Bootstrap, Ports
from runtime.fetch.saved import NAME as SAVED
from runtime.supervisor.fleet import CRASHES
from runtime.supervisor.sockets import BindError, free_port
from runtime.supervisor.supervisor import Supervisor
from snapshot.index import Selector
from snapshot.section import GatewayPort, Listener, Section
from snapshot.store_directory import DirectoryStore
from tests.slices import gateway_listener, snapshot_of
from tests.stores import release_mesh, sections, signing_keys

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
FAKE = (sys.executable, "-m", "tests.plane_process")


def listener(port: int, name: str = "http") -> Listener:
    made = gateway_listener(port)
    return Listener(name, made.source, made.direction, GatewayPort(port), made.protocol, made.chains)


class Bench:
    """A store, a bootstrap and a way to publish."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        self.store = DirectoryStore(folder / "store")
        (folder / "root.json").write_bytes(signing_keys().root)
        self.port = free_port("127.0.0.1")
        self.bootstrap = Bootstrap(
            selector=Selector(name="test"),
            store=str(folder / "store"),
            root=str(folder / "root.json"),
            state=str(folder / "state"),
            ports=Ports(admin=0, outbound=0, metrics=-1, merged_metrics=-1, readiness=0),
            workers=workers,
            poll_s=0.05,
        )
        self.folder = folder

    def publish(self, body: str, *listeners: Listener) -> str:
        made: list[Section] = [*sections(body), *(listeners or (listener(self.port),))]
        return release_mesh(self.store, snapshot_of({"test": made})).snapshot

    def answer(self, port: int = 0) -> tuple[str, int]:
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=5) as client:
            digest, pid = client.recv(200).decode().split()
        return digest, int(pid)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Bench(tmp_path)


@asynccontextmanager
async def supervised(bench: Bench) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(bench.bootstrap, command=FAKE)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            yield supervisor
            supervisor.stop()


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110  the state of another process
            await trio.sleep(0.01)


async def page(supervisor: Supervisor, path: str, *, port: str = "admin") -> httpx.Response:
    host, number = supervisor.pages[port]
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://{host}:{number}{path}")


def serves(supervisor: Supervisor, digest: str) -> Callable[[], bool]:
    def check() -> bool:
        deployed = supervisor.running.deployed
        return deployed is not None and deployed.verified.slice.snapshot == digest

    return check


async def test_a_published_slice_serves_and_the_next_replaces_it(bench: Bench) -> None:
    first = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, first))
        assert (await trio.to_thread.run_sync(bench.answer))[0] == first
        second = bench.publish("two")
        await until(serves(supervisor, second), 2.0)
        assert (await trio.to_thread.run_sync(bench.answer))[0] == second


async def test_all_workers_serve_the_same_slice_or_the_old_one_stays(bench: Bench) -> None:
    bench = Bench(bench.folder, workers=2)
    good = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, good))
        bench.publish("refuse")
        await until(lambda: supervisor.running.refused)
        assert supervisor.running.refused is not None
        assert supervisor.running.refused.reason == "reference"
        assert serves(supervisor, good)()
        answers = {await trio.to_thread.run_sync(bench.answer) for _ in range(20)}
        assert {digest for digest, _ in answers} == {good}
        assert {pid for _, pid in answers} <= set(supervisor.workers().values())
        better = bench.publish("two")
        await until(serves(supervisor, better))
        assert supervisor.running.refused is None


async def test_a_slice_that_only_one_worker_can_prepare_serves_in_none(bench: Bench) -> None:
    bench = Bench(bench.folder, workers=2)
    other = free_port("127.0.0.1")
    good = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, good))
        bench.publish("refuse-in-one-worker", listener(bench.port), listener(other, "second"))
        await until(lambda: supervisor.running.refused)
        answers = {await trio.to_thread.run_sync(bench.answer) for _ in range(20)}
        assert {digest for digest, _ in answers} == {good}
        with pytest.raises(ConnectionRefusedError):
            await trio.to_thread.run_sync(bench.answer, other)
        better = bench.publish("two")
        await until(serves(supervisor, better))
        assert supervisor.restarts == 0


async def test_a_killed_worker_comes_back_with_the_serving_slice_and_its_queue_is_kept(bench: Bench) -> None:
    digest = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, digest))
        old = supervisor.workers()[0]
        os.kill(old, signal.SIGKILL)
        # The connection waits in the supervisor's copy of the listening socket until the new worker accepts it.
        answered, pid = await trio.to_thread.run_sync(bench.answer)
        assert answered == digest
        assert pid != old
        assert supervisor.restarts == 1


async def test_a_worker_that_keeps_ending_is_waited_for_instead_of_started_in_a_loop(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    digest = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, digest))
        for count in range(1, CRASHES + 1):
            await until(supervisor.workers)
            os.kill(supervisor.workers()[0], signal.SIGKILL)
            await until(lambda count=count: supervisor.restarts == count)  # type: ignore[misc]
        assert "ended 5 times in 10 s" in caplog.text
        with trio.move_on_after(1.5):
            await until(supervisor.workers)
        assert supervisor.workers() == {}
        assert supervisor.not_ready() == "no worker is up"


async def test_a_slice_that_kills_its_worker_is_refused_and_the_old_one_serves(bench: Bench) -> None:
    good = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, good))
        bench.publish("die")
        await until(lambda: supervisor.running.refused)
        assert supervisor.running.refused is not None
        assert supervisor.running.refused.reason == "worker"
        assert (await trio.to_thread.run_sync(bench.answer))[0] == good


async def test_a_worker_that_dies_after_the_swap_comes_back_with_the_new_slice(bench: Bench) -> None:
    good = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, good))
        new = bench.publish("die-after-swap")
        await until(serves(supervisor, new))


async def test_a_listener_that_a_slice_adds_is_bound_and_one_that_it_drops_is_closed(bench: Bench) -> None:
    other = free_port("127.0.0.1")
    bench.publish("one")
    async with supervised(bench) as supervisor:
        both = bench.publish("two", listener(bench.port), listener(other, "second"))
        await until(serves(supervisor, both))
        assert (await trio.to_thread.run_sync(bench.answer, other))[0] == both
        one = bench.publish("three")
        await until(serves(supervisor, one))
        with pytest.raises(ConnectionRefusedError):
            await trio.to_thread.run_sync(bench.answer, other)


async def test_a_taken_port_refuses_the_slice_and_names_the_port(bench: Bench) -> None:
    good = bench.publish("one")
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        async with supervised(bench) as supervisor:
            await until(serves(supervisor, good))
            bench.publish("two", listener(bench.port), listener(taken, "second"))
            await until(lambda: supervisor.running.refused)
            refused = (await page(supervisor, "/snapshot")).json()["refused"]
            assert refused["reason"] == "bind"
            assert f"127.0.0.1:{taken} is taken by another process" in refused["message"]
            assert (await trio.to_thread.run_sync(bench.answer))[0] == good


async def test_a_slice_that_a_taken_port_refused_serves_once_the_port_is_free(bench: Bench) -> None:
    bench.publish("one")
    squatter = socket.create_server(("127.0.0.1", 0))
    taken = squatter.getsockname()[1]
    async with supervised(bench) as supervisor:
        wanted = bench.publish("two", listener(bench.port), listener(taken, "second"))
        await until(lambda: supervisor.running.refused)
        squatter.close()
        await until(serves(supervisor, wanted))
        assert supervisor.running.refused is None


async def test_a_restart_without_its_store_serves_what_was_verified_last(bench: Bench) -> None:
    digest = bench.publish("one")
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, digest))
        await until((Path(bench.bootstrap.state) / SAVED).exists)
    shutil.rmtree(bench.bootstrap.store)
    async with supervised(bench) as supervisor:
        await until(serves(supervisor, digest))
        assert (await trio.to_thread.run_sync(bench.answer))[0] == digest
        problem = (await page(supervisor, "/snapshot")).json()["problem"]
        assert problem["reason"] == "missing"


async def test_the_admin_pages_say_what_runs(bench: Bench) -> None:
    async with supervised(bench) as supervisor:
        assert (await page(supervisor, "/ready")).status_code == 503
        digest = bench.publish("one")
        await until(serves(supervisor, digest))
        assert (await page(supervisor, "/healthz/ready", port="readiness")).text == "LIVE\n"
        running = (await page(supervisor, "/snapshot")).json()["running"]
        assert (running["digest"], running["version"], running["fresh"]) == (digest, 1, True)
        assert (await page(supervisor, "/listeners")).text == f"http::127.0.0.1:{bench.port}\n"
        dumped = [one["@type"].rpartition(".")[2] for one in (await page(supervisor, "/config_dump")).json()["configs"]]
        assert dumped[:2] == ["BootstrapConfigDump", "ClustersConfigDump"]
        assert (await page(supervisor, "/sections")).json()["snapshot"] == digest
        metrics = (await page(supervisor, "/stats/prometheus")).text
        assert f'weft_snapshot_info{{digest="{digest}"' in metrics
        assert 'weft_swap_total{result="ok"} 1' in metrics
        assert (await page(supervisor, "/nothing")).status_code == 404
        assert (await page(supervisor, "/certs")).json() == {"certificates": []}
        info = json.loads((await page(supervisor, "/server_info")).text)
        assert info["workers"] == {"0": supervisor.workers()[0]}


async def test_two_proxies_do_not_share_a_page_port(bench: Bench) -> None:
    async with supervised(bench) as supervisor:
        port = supervisor.pages["admin"][1]
        ports = msgspec.structs.replace(bench.bootstrap.ports, admin=port)
        second = Supervisor(msgspec.structs.replace(bench.bootstrap, ports=ports), command=FAKE)
        with pytest.raises(ExceptionGroup) as caught:
            await second.run()
        assert caught.group_contains(BindError, match="admin port")
