"""UDP at a proxy with two workers: each client has one of them, whatever becomes of it. Real processes, real sockets."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from policies.traffic import Destination
from runtime.supervisor.sockets import datagram_socket
from snapshot.section import (
    Cluster,
    Endpoint,
    FilterChain,
    GatewayPort,
    Listener,
    Section,
    ServiceName,
    StaticEndpoints,
    UdpChain,
)
from tests.slices import SOURCE
from tests.weft.test_proxy_workers import HELLO, Proxy, serving

pytestmark = pytest.mark.integration
CLIENTS = 24
PATIENCE_S = 20.0


class Echo:
    """Answers with what came. ``callers`` counts the datagrams of each socket that called, which is one for each session."""

    def __init__(self) -> None:
        self.callers: Counter[tuple[str, int]] = Counter()
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            task_status.started()
            while True:
                data, caller = await sock.recvfrom(65_536)
                self.callers[caller] += 1
                await sock.sendto(data, caller)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[Proxy, Echo, list[trio.socket.SocketType]]]:
    """A proxy with a UDP port, the application behind it, and clients that stay."""
    with datagram_socket(("127.0.0.1", 0), shared=False) as free:
        port = free.getsockname()[1]
    echo = Echo()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(echo.serve)
        chain = FilterChain("dns", SOURCE, UdpChain((Destination("echo"),), SOURCE))
        members = StaticEndpoints((Endpoint("127.0.0.1", echo.port),))
        sections: tuple[Section, ...] = (
            Listener("dns", SOURCE, "gateway", GatewayPort(port, datagrams=True), "udp", (chain,)),
            Cluster("echo", ServiceName("echo", "echo", "default"), members, (SOURCE,), protocol="udp"),
        )
        proxy = await stack.enter_async_context(serving(folder, HELLO, more=sections))
        clients = []
        for _ in range(CLIENTS):
            sock = stack.enter_context(trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            await sock.connect(("127.0.0.1", port))
            clients.append(sock)
        yield proxy, echo, clients
        nursery.cancel_scope.cancel()


async def ask_all(clients: list[trio.socket.SocketType], text: bytes) -> None:
    """Every client asks at once, and is answered."""
    with trio.fail_after(PATIENCE_S):
        for number, sock in enumerate(clients):
            await sock.send(b"%s %d" % (text, number))
        for number, sock in enumerate(clients):
            assert await sock.recv(100) == b"%s %d" % (text, number)


async def by_worker(proxy: Proxy) -> Counter[int]:
    """How many sessions each worker has."""
    async with httpx.AsyncClient(trust_env=False) as client:
        shown = (await client.get(f"http://127.0.0.1:{proxy.admin}/connections")).json()["connections"]
    return Counter(one.get("worker", 0) for one in shown if one["protocol"] == "UDP")


async def test_each_client_has_one_worker_and_one_session_through_a_crash_and_an_upgrade(tmp_path: Path) -> None:
    async with world(tmp_path) as (proxy, echo, clients):
        for text in (b"a", b"b", b"c"):
            await ask_all(clients, text)
        assert sorted(echo.callers.values()) == [3] * CLIENTS
        shares = await by_worker(proxy)
        assert sum(shares.values()) == CLIENTS
        assert len(shares) == 2
        # What comes for a worker that was killed waits for the next one; the other's clients keep their sessions.
        victim, *_ = await proxy.workers()
        os.kill(victim, signal.SIGKILL)
        await ask_all(clients, b"d")
        await proxy.until_workers(victim)
        kept = sum(count == 4 for count in echo.callers.values())
        assert kept in shares.values()
        assert len(echo.callers) == CLIENTS + CLIENTS - kept
        assert await by_worker(proxy) == shares
        # The next program serves the same sockets.
        assert proxy.process is not None
        before = await proxy.workers()
        proxy.process.send_signal(signal.SIGUSR2)
        await proxy.until_workers(*before)
        await ask_all(clients, b"e")
        await ask_all(clients, b"f")
        assert proxy.process.poll() is None, proxy.log()
