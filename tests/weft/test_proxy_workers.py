"""Workers under load: one that is killed, and a whole proxy that is upgraded in place. Real processes, real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from policies.limits import RateLimit
from policies.match import PathPrefix
from policies.source import SourceRef
from policies.traffic import DirectResponse
from snapshot.section import Proxy as ProxySection
from snapshot.section import Route, Section
from snapshot.store_directory import DirectoryStore
from tests.ports import free_port
from tests.slices import WORKLOAD, cluster, gateway_listener, host_sections, route, snapshot_of, table
from tests.stores import release_mesh, signing_keys

pytestmark = pytest.mark.integration

WEFT = (sys.executable, "-c", "from weft.cli import main; main()")
CLIENTS = 9
PATIENCE_S = 30
"""How long anything may take on a machine that is busy with other things."""

PACE_S = 0.005
"""Between a client's requests: the load is to be steady, not to take the machine from the proxy."""
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


class Proxy:
    """One ``weft proxy`` with two workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.admin = free_port("127.0.0.1"), free_port("127.0.0.1")
        (folder / "root.json").write_bytes(signing_keys().root)
        (folder / "token").write_text("let-me\n")
        (folder / "proxy.toml").write_text(
            'store = "store"\nroot = "root.json"\nstate = "state"\nselector = {name = "test"}\nworkers = 2\n'
            f'admin_token = "{folder}/token"\n'
            f"ports = {{admin = {self.admin}, outbound = -1, metrics = -1, merged_metrics = -1, readiness = -1}}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def publish(self, *routes: Route, more: tuple[Section, ...] = ()) -> None:
        about = ProxySection(WORKLOAD, "cluster.local")
        made = [about, gateway_listener(self.port), table(), *host_sections("all", ["*"], routes), *more]
        release_mesh(DirectoryStore(self.folder / "store"), snapshot_of({"test": made}))

    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def workers(self) -> list[int]:
        """The process ids of the workers, none where the proxy does not answer."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            with suppress(httpx.TransportError):
                info = (await client.get(f"http://127.0.0.1:{self.admin}/server_info")).json()
                return list(info["workers"].values()) if info["state"] == "LIVE" else []
        return []

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            command = [*WEFT, "proxy", "ingress", "--bootstrap", str(self.folder / "proxy.toml")]
            self.process = subprocess.Popen(command, stderr=log)

    def end(self) -> None:
        assert self.process is not None
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()

    async def until_workers(self, *without: int) -> list[int]:
        """Waits until two workers serve that are none of these."""
        with trio.move_on_after(2 * PATIENCE_S):
            while True:
                found = await self.workers()
                if len(found) == 2 and set(found).isdisjoint(without):
                    return found
                await trio.sleep(0.02)
        pytest.fail(self.log())


@asynccontextmanager
async def serving(folder: Path, *routes: Route, more: tuple[Section, ...] = ()) -> AsyncIterator[Proxy]:
    proxy = Proxy(folder)
    proxy.publish(*routes, more=more)
    proxy.start()
    try:
        await proxy.until_workers()
        yield proxy
    finally:
        proxy.end()


class Load:
    """Requests on fresh connections and on kept ones. ``failed`` has when each failed request had begun, by the monotonic clock."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.failed: list[tuple[float, str]] = []
        self.over = False

    async def goes_on(self) -> None:
        """Waits until each client may have been answered a few times more."""
        wanted = self.answered + 5 * CLIENTS
        with trio.fail_after(PATIENCE_S):
            while self.answered < wanted:  # noqa: ASYNC110  counted by many tasks
                await trio.sleep(PACE_S)

    async def run(self, *, kept: bool) -> None:
        stream: trio.SocketStream | None = None
        try:
            while not self.over:
                begun = time.monotonic()
                try:
                    with trio.fail_after(PATIENCE_S):
                        if stream is None:
                            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                            begun = time.monotonic()
                        reply = await _ask(stream, kept=kept)
                    self.answered += 1
                except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                    self.failed.append((begun, repr(error)))
                    reply = b"connection: close"
                if b"connection: close" in reply and stream is not None:
                    await trio.aclose_forcefully(stream)
                    stream = None
                await trio.sleep(PACE_S)
        finally:
            if stream is not None:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)


async def _ask(stream: trio.SocketStream, *, kept: bool) -> bytes:
    close = "" if kept else "connection: close\r\n"
    await stream.send_all(f"GET / HTTP/1.1\r\nhost: a\r\n{close}\r\n".encode())
    return await _reply(stream)


async def _reply(stream: trio.SocketStream) -> bytes:
    received = b""
    while not received.endswith(b"hello"):
        data = await stream.receive_some()
        if not data:
            raise trio.BrokenResourceError(f"cut off after {received!r}")
        received += data
    assert received.startswith(b"HTTP/1.1 200"), received
    return received


HELLO = route(action=DirectResponse(200, "hello"))


async def test_a_worker_that_is_killed_costs_only_what_it_had_accepted(tmp_path: Path) -> None:
    async with serving(tmp_path, HELLO) as proxy, trio.open_nursery() as nursery:
        load = Load(proxy.port)
        for number in range(CLIENTS):
            nursery.start_soon(partial(load.run, kept=number % 3 == 0))
        for _ in range(2):
            victim, *_ = await proxy.until_workers()
            await load.goes_on()
            os.kill(victim, signal.SIGKILL)
            dead = await _gone(victim)
            await proxy.until_workers(victim)
            late = [one for one in load.failed if one[0] > dead]
            # A kept connection is accepted: what is sent on one that the dead worker had is lost like what was under way.
            assert len(late) <= CLIENTS // 3, late
            assert len(load.failed) <= CLIENTS
            load.failed.clear()
        load.over = True


async def _gone(pid: int) -> float:
    with trio.fail_after(PATIENCE_S):
        while await trio.Path(f"/proc/{pid}/stat").exists():  # noqa: ASYNC110  the state of another process
            await trio.sleep(0.001)
    return time.monotonic()


async def test_an_upgrade_in_place_loses_no_request_and_no_open_connection(tmp_path: Path) -> None:
    async with trio.open_nursery() as origins, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        origins.start_soon(trio.serve_listeners, _websocket, [listener])
        port = listener.socket.getsockname()[1]
        chat = route(PathPrefix("/chat"), "chat")
        async with serving(tmp_path, chat, HELLO, more=(cluster("chat", ("127.0.0.1", port)),)) as proxy:
            assert proxy.process is not None
            load = Load(proxy.port)
            for number in range(CLIENTS):
                nursery.start_soon(partial(load.run, kept=number % 2 == 0))
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as tunnel:
                await _shake_hands(tunnel)
                before = await proxy.until_workers()
                for _ in range(2):
                    proxy.process.send_signal(signal.SIGUSR2)
                    before = await proxy.until_workers(*before)
                    assert await _echoes(tunnel)
                await load.goes_on()
                assert load.failed == []
            load.over = True
            assert proxy.process.poll() is None, proxy.log()
            assert proxy.log().count("upgrading in place") == 2
            proxy.publish(route(action=DirectResponse(200, "news hello")))
            await _answers(proxy.port, b"news hello")
        nursery.cancel_scope.cancel()
        origins.cancel_scope.cancel()
    assert load.answered > 100


async def _shake_hands(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive_some()
    assert received.startswith(b"HTTP/1.1 101"), received


async def _echoes(stream: trio.SocketStream) -> bool:
    with trio.fail_after(PATIENCE_S):
        await stream.send_all(b"ping")
        return await stream.receive_some() == b"ping"


async def _websocket(stream: trio.SocketStream) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive_some()
    await stream.send_all(SWITCHING)
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def _answers(port: int, body: bytes) -> None:
    with trio.fail_after(PATIENCE_S):
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            while (await client.get(f"http://127.0.0.1:{port}/")).content != body:  # noqa: ASYNC110
                await trio.sleep(0.05)


async def test_an_upgrade_that_would_not_run_changes_nothing_and_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path, HELLO) as proxy:
        before = await proxy.until_workers()
        (tmp_path / "proxy.toml").write_text("this is no TOML\n")
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            url = f"http://127.0.0.1:{proxy.admin}/upgrade"
            assert (await client.post(url)).status_code == 403
            refused = await client.post(url, headers={"authorization": "Bearer let-me"})
        assert refused.status_code == 409
        assert "proxy.toml" in refused.text
        assert await proxy.until_workers() == before


async def test_workers_hold_a_rate_limit_together(tmp_path: Path) -> None:
    # Where the supervisor is silent for a quarter of a second, as on a machine that is busy with other things, workers count their own shares.
    found = [await _admitted(tmp_path)]
    while found[-1] != (40, 40) and len(found) < 3:
        found.append(await _admitted(tmp_path))
    assert found[-1] == (40, 40), found


async def _admitted(folder: Path) -> tuple[int, int]:
    """How many of 80 requests a limit of 40 lets through two workers, and how many not."""
    source = SourceRef("RateLimit", "default", "l")
    made = Route(HELLO.source, HELLO.match, HELLO.action, limits=(RateLimit(source, 40, 3_600_000, 40),))
    async with serving(folder, made) as proxy:
        statuses: list[int] = []

        async def ask(times: int) -> None:
            for _ in range(times):
                async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
                    statuses.append((await client.get(f"http://127.0.0.1:{proxy.port}/")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ask, 10)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            metrics = (await client.get(f"http://127.0.0.1:{proxy.admin}/stats/prometheus")).text
        admitted = statuses.count(200), statuses.count(429)
        for result, number in zip(("ok", "limited"), admitted, strict=True):
            assert f'weft_rate_limit_total{{limit="RateLimit/default/l",result="{result}"}} {number}' in metrics
        return admitted
