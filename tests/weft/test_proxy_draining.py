"""Taking a running proxy out of service as an operator does: over its admin socket, by each engine, with requests under way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio

from policies.match import PathExact
from snapshot.section import Deadlines, Proxy, Section
from snapshot.store_directory import DirectoryStore
from tests import h2_peer, websocket_peer
from tests.ports import free_port
from tests.slices import WORKLOAD, cluster, gateway_listener, host_sections, route, snapshot_of, table
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration
engines = pytest.mark.parametrize("engine", ["trio", "envoy"])

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
DRAIN_S = 2.0
START_S = 40.0
BOOTSTRAP = """
store = "{folder}/store"
root = "{folder}/root.json"
state = "{folder}/state"
engine = "{engine}"
admin_socket = "{folder}/admin.sock"
poll_s = 0.05
[selector]
name = "test"
[ports]
admin = {admin}
metrics = -1
merged_metrics = -1
readiness = -1
[port_map]
80 = {port}
"""


class Operated:
    """One proxy process, its origin's one held request, and the operator's socket."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin: int, socket: Path) -> None:
        self.process = process
        self.port = port
        self.admin_port = admin
        self.admin = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://admin", timeout=10
        )
        self.asked = trio.Event()
        self.release = trio.Event()

    async def act(self, path: str) -> None:
        """Has the proxy do something; its answer is Envoy's OK."""
        reply = await self.admin.post(path)
        assert (reply.status_code, reply.text) == (200, "OK\n")

    async def ready(self) -> int:
        """The status of the readiness page, by a connection of its own."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{self.admin_port}/ready")).status_code

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    async def ended(self) -> float:
        """How long the process takes to end by itself; it must end well."""
        begun = trio.current_time()
        await until(lambda: self.process.poll() is not None, 20)
        assert self.process.returncode == 0
        return trio.current_time() - begun


async def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110  the state of another process
            await trio.sleep(0.02)


async def accepts(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


@asynccontextmanager
async def operated(folder: Path, engine: str) -> AsyncIterator[Operated]:
    """``weft proxy`` before an origin that holds ``/held`` back, and a WebSocket origin at ``/ws``."""
    port, admin = free_port("127.0.0.1"), free_port("127.0.0.1")
    (folder / "root.json").write_bytes(signing_keys().root)
    text = BOOTSTRAP.format(folder=folder, engine=engine, admin=admin, port=port)
    (folder / "proxy.toml").write_text(text)
    command = [*WEFT, "proxy", "ingress", "--bootstrap", str(folder / "proxy.toml")]
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        socket = await stack.enter_async_context(websocket_peer.serving(websocket_peer.Origin()))
        origin = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        release_mesh(
            DirectoryStore(folder / "store"),
            snapshot_of({"test": mesh(origin.socket.getsockname()[1], socket.port)}),
        )
        process = started(command, folder / "log")
        proxy = Operated(process, port, admin, folder / "admin.sock")
        nursery.start_soon(trio.serve_listeners, lambda stream: holding(proxy, stream), [origin])
        try:
            with trio.fail_after(START_S):
                while not (folder / "admin.sock").exists() or await proxy.ready() != 200:
                    assert process.poll() is None, (folder / "log").read_text()
                    await trio.sleep(0.05)
            yield proxy
        finally:
            await proxy.admin.aclose()
            process.kill()
            process.wait()
            nursery.cancel_scope.cancel()


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, stderr=out)


def mesh(origin: int, socket: int) -> list[Section]:
    return [
        Proxy(workload=WORKLOAD, trust_domain="cluster.local", deadlines=Deadlines(drain_ms=int(DRAIN_S * 1000))),
        gateway_listener(80),
        table(),
        *host_sections("all", ["*"], [route(PathExact("/ws"), "socket"), route(None, "origin")]),
        cluster("origin", ("127.0.0.1", origin)),
        cluster("socket", ("127.0.0.1", socket)),
    ]


async def holding(proxy: Operated, stream: trio.SocketStream) -> None:
    """An origin that answers ``/held`` only when it is released."""
    with suppress(trio.BrokenResourceError):
        async with stream:
            await _answer(proxy, stream)


async def _answer(proxy: Operated, stream: trio.SocketStream) -> None:
    while head := await stream.receive_some(65536):
        if head.startswith(b"GET /held"):
            proxy.asked.set()
            await proxy.release.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")


@engines
async def test_a_proxy_that_is_to_be_avoided_says_so_to_clients_and_probes_and_takes_it_back(
    engine: str, tmp_path: Path
) -> None:
    async with operated(tmp_path, engine) as proxy, proxy.client() as client:
        assert "connection" not in (await client.get("/")).headers
        await proxy.act("/healthcheck/fail")
        assert await proxy.ready() == 503
        assert (await client.get("/")).headers["connection"] == "close"
        async with h2_peer.connected(proxy.port) as young:
            assert (await young.get("/")).status == 200
            with trio.fail_after(10):
                while young.goaway is None:
                    await young.step()
        await proxy.act("/healthcheck/ok")
        assert await proxy.ready() == 200
        assert "connection" not in (await client.get("/")).headers
        assert (await proxy.admin.get("/server_info")).json()["state"] == "LIVE"


@engines
async def test_drained_listeners_take_no_connection_and_finish_those_they_have(engine: str, tmp_path: Path) -> None:
    async with operated(tmp_path, engine) as proxy, proxy.client() as client, trio.open_nursery() as nursery:
        statuses: list[int] = []

        async def held() -> None:
            statuses.append((await client.get("/held")).status_code)

        nursery.start_soon(held)
        await proxy.asked.wait()
        await proxy.act("/drain_listeners")
        with trio.fail_after(10):
            while await accepts(proxy.port):  # noqa: ASYNC110
                await trio.sleep(0.02)
        proxy.release.set()
        await until(lambda: statuses)
        assert statuses == [200]
        assert proxy.process.poll() is None
        assert (await proxy.admin.get("/listeners")).text == ""


@engines
async def test_a_graceful_drain_accepts_for_the_drains_time_and_then_no_more(engine: str, tmp_path: Path) -> None:
    async with operated(tmp_path, engine) as proxy:
        begun = trio.current_time()
        await proxy.act("/drain_listeners?graceful")
        async with proxy.client() as client:
            assert (await client.get("/")).headers["connection"] == "close"
        with trio.fail_after(20):
            while await accepts(proxy.port):  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert DRAIN_S - 0.2 < trio.current_time() - begun < DRAIN_S + 5


@engines
async def test_a_proxy_that_is_told_to_quit_finishes_its_requests_and_ends(engine: str, tmp_path: Path) -> None:
    async with operated(tmp_path, engine) as proxy, proxy.client() as client, trio.open_nursery() as nursery:
        statuses: list[int] = []

        async def held() -> None:
            statuses.append((await client.get("/held")).status_code)

        nursery.start_soon(held)
        await proxy.asked.wait()
        # The operator's own connection stays open: it is nobody's request.
        await proxy.act("/quitquitquit")
        with trio.fail_after(10):
            while await proxy.ready() != 503:  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert proxy.process.poll() is None
        assert statuses == []
        proxy.release.set()
        await until(lambda: statuses)
        assert statuses == [200]
        assert await proxy.ended() < DRAIN_S


@engines
async def test_what_does_not_finish_is_cut_off_at_the_drains_deadline(engine: str, tmp_path: Path) -> None:
    async with operated(tmp_path, engine) as proxy, proxy.client() as client, trio.open_nursery() as nursery:
        failed: list[Exception] = []

        async def held() -> None:
            try:
                await client.get("/held")
            except httpx.HTTPError as error:
                failed.append(error)

        nursery.start_soon(held)
        await proxy.asked.wait()
        await proxy.act("/quitquitquit")
        took = await proxy.ended()
        assert DRAIN_S - 0.3 < took < DRAIN_S + 4
        await until(lambda: failed)


async def test_a_websocket_is_told_that_the_server_goes_away(tmp_path: Path) -> None:
    async with operated(tmp_path, "trio") as proxy:
        async with websocket_peer.over_http1(proxy.port, "/ws") as talker:
            await talker.say(b"before")
            assert await talker.message() == b"before"
            await proxy.act("/quitquitquit")
            with trio.fail_after(15):
                while not talker.over:
                    await talker.step()
            assert websocket_peer.close_code(talker.protocol) == 1001
            await proxy.ended()
