"""One data plane on loopback for tests: hand-made sections in, an address to send requests to out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from runtime.bootstrap import Bootstrap, Ports
from runtime.proxy import Proxy
from snapshot.index import Selector
from snapshot.section import Section
from tests.slices import slice_of


class Running:
    """A proxy that serves, and where its listeners really are."""

    def __init__(self, proxy: Proxy, ports: dict[int, int]) -> None:
        self.proxy = proxy
        self.ports = ports

    def url(self, port: int = 80, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.ports[port]}"

    async def swap(self, *sections: Section) -> None:
        """Prepares and swaps."""
        self.proxy.swap(await self.proxy.prepare(slice_of(*sections)))

    async def exchange(self, data: bytes, port: int = 80) -> bytes:
        """Sends bytes on a connection of its own and returns what comes until the proxy closes it."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.ports[port])
        async with stream:
            await stream.send_all(data)
            return b"".join([part async for part in stream])

    async def get(self, path: str = "/", host: str = "a.test", *lines: str, port: int = 80) -> bytes:
        """One GET on a connection of its own, the whole reply."""
        head = "".join(f"{line}\r\n" for line in lines)
        return await self.exchange(
            f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{head}connection: close\r\n\r\n".encode(), port
        )


@asynccontextmanager
async def proxying(
    *sections: Section, ports: tuple[int, ...] = (80,), stamp: bool = False, **fields: object
) -> AsyncIterator[Running]:
    """Runs a proxy with these sections; ``ports`` are the slice's gateway or workload ports, each bound to any free one."""
    sockets = {port: socket.create_server(("127.0.0.1", 0), backlog=1024) for port in ports}
    real = {port: one.getsockname()[1] for port, one in sockets.items()}
    bootstrap = Bootstrap(
        Selector(),
        "",
        "",
        "",
        port_map={str(port): number for port, number in real.items()},
        **fields,  # type: ignore[arg-type]
    )
    proxy = Proxy(bootstrap, {f"127.0.0.1:{real[port]}": one for port, one in sockets.items()}, stamp=stamp)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        running = Running(proxy, real)
        await running.swap(*sections)
        yield running
        assert proxy.lane.bugs == 0, "a bug was caught in the lane: see the log"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def outbound(*sections: Section) -> AsyncIterator[str]:
    """Runs a proxy whose slice has an explicit-proxy listener; the block gets its URL."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    proxy = Proxy(Bootstrap(Selector(), "", "", "", ports=Ports(outbound=port)), {f"127.0.0.1:{port}": sock})
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        proxy.swap(await proxy.prepare(slice_of(*sections)))
        yield f"http://127.0.0.1:{port}"
        assert proxy.lane.bugs == 0, "a bug was caught in the lane: see the log"
        nursery.cancel_scope.cancel()
