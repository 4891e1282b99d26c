"""Real proxies inside a test's own process: the data plane of a worker on sockets of its own, fed by hand instead of by a supervisor."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from runtime.bootstrap import Bootstrap, Ports
from runtime.proxy import Proxy
from runtime.socket_address import socket_name
from runtime.supervisor.sockets import datagram_socket, listening_socket
from snapshot.index import Selector, Slice, Snapshot, assemble
from snapshot.live import Credential, RegisteredWorkload, Registry
from snapshot.prepared import prepare
from snapshot.section import AddressPort, GatewayPort, ProxyPort, ServicePort, UnixSocket, WorkloadPort


class Running:
    """One proxy that serves. ``ports`` says which real port each of the slice's listener ports (or ``outbound``) became."""

    def __init__(self, proxy: Proxy, bootstrap: Bootstrap, ports: dict[str, int]) -> None:
        self.proxy = proxy
        self.bootstrap = bootstrap
        self.ports = ports

    async def load(self, slice_: Slice) -> None:
        """Prepares and swaps to another slice with the same listeners."""
        self.proxy.swap(await self.proxy.prepare(slice_))


def slice_named(snapshot: Snapshot, name: str) -> Slice:
    """One slice of a snapshot."""
    entry = next(entry for entry in snapshot.index.slices if entry.name == name)
    return assemble(snapshot.digest, entry, snapshot.blobs)


@asynccontextmanager
async def running(
    slice_: Slice,
    workloads: Sequence[RegisteredWorkload] = (),
    credentials: Sequence[Credential] = (),
    *,
    application_ports: dict[str, int] | None = None,
    every_address: bool = False,
    locality: str = "",
) -> AsyncIterator[Running]:
    """Runs a proxy with this slice for the duration of a block, each listener on a free port of 127.0.0.1, or, those of a gateway, of every
    address."""
    host = "0.0.0.0" if every_address else "127.0.0.1"
    sockets: dict[str, socket.socket] = {}
    port_map: dict[str, int] = {}
    ports: dict[str, int] = {}
    services: dict[str, str] = {}
    outbound = -1
    for listener in prepare(slice_).listeners.values():
        datagrams = listener.protocol == "udp"
        if datagrams:
            sock = datagram_socket((host, 0), shared=False)
        else:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, 0))
            sock.listen(128)
            sock.setblocking(False)
        port = sock.getsockname()[1]
        match listener.bind:
            case GatewayPort(number) | WorkloadPort(number):
                called = f"{number}/udp" if datagrams else str(number)
                port_map[called] = ports[called] = port
            case ProxyPort():
                outbound = ports["outbound"] = port
            case ServicePort(service, number):
                services[f"{service}:{number}"] = f"{host}:{port}"
                ports[f"{service}:{number}"] = port
            case AddressPort(address, number):
                services[f"{address or '127.0.0.1'}:{number}"] = f"{host}:{port}"
                ports[listener.name] = port
            case UnixSocket(path):
                sock.close()
                sockets[f"{path}:0"] = listening_socket((path, 0), shared=False)
                continue
        sockets[socket_name((host, port), datagrams=datagrams)] = sock
    bootstrap = Bootstrap(
        selector=Selector(name=slice_.entry.name),
        store="",
        root="",
        state="",
        address=host,
        locality=locality,
        port_map=port_map,
        services=services,
        application_ports=application_ports or {},
        ports=Ports(admin=-1, outbound=outbound, metrics=-1, merged_metrics=-1, readiness=-1),
    )
    proxy = Proxy(bootstrap, sockets)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: proxy.run(task_status=task_status))
        proxy.set_credentials(list(credentials))
        proxy.set_registry(Registry(1, tuple(workloads)))
        proxy.swap(await proxy.prepare(slice_))
        yield Running(proxy, bootstrap, ports)
        nursery.cancel_scope.cancel()
