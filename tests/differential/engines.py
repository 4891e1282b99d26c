"""The two engines on one slice: the trio data plane in this process, a real Envoy from the static export, both with the same live data."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from runtime.bootstrap import Bootstrap, Ports
from runtime.endpoints import LiveData
from runtime.envoy.binary import require_envoy
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.secrets import of_credential, of_svid
from runtime.envoy.static import plain, static_bootstrap
from runtime.envoy.translate import translate
from runtime.proxy import Proxy as DataPlane
from runtime.socket_address import socket_name
from runtime.supervisor.sockets import datagram_socket
from snapshot.index import Selector, Slice
from snapshot.live import Credential, Svid
from snapshot.prepared import PreparedSlice, prepare
from snapshot.section import (
    AccessLog,
    AddressPort,
    Cluster,
    Endpoint,
    GatewayPort,
    Listener,
    MeshUpstream,
    OriginalDestination,
    Proxy,
    ProxyPort,
    Route,
    RouteBlock,
    Section,
    ServerTls,
    ServicePort,
    StaticEndpoints,
    TlsUpstream,
    WorkloadPort,
)
from tests.differential.backends import Backends
from tests.differential.certificates import can_serve
from tests.runtime.authority import Authority
from tests.slices import slice_of

START_S = 30.0
DAY_MS = 86_400_000
PLENTY = 1_000_000
END_S = 5.0


class Engines(msgspec.Struct):
    """Both engines, serving. ``addresses`` has, by listener, the trio engine's port and Envoy's; ``clusters`` the cluster of each backend;
    ``logs`` are the files that hold every line once both have ended."""

    prepared: PreparedSlice
    addresses: dict[str, tuple[int, int]]
    clusters: dict[str, str]
    authority: Authority
    logs: tuple[Path, Path]


def grounded(prepared: PreparedSlice, backends: Backends, log: Path | None = None) -> tuple[Slice, dict[str, str]]:
    """The slice with a backend of its own behind each cluster, and the cluster of each backend. What the slice logs goes to ``log``.

    Where the origin has certificates a cluster reaches it by its own TLS, else in plain HTTP. How clusters find endpoints has tests of its own.
    """
    sections: list[Section] = []
    clusters: dict[str, str] = {}
    for section in prepared.sections.values():
        if isinstance(section, Cluster) and not isinstance(section.endpoints, OriginalDestination):
            tls = section.tls if backends.certificates is not None and can_serve(section.tls) else None
            endpoints = tuple(
                msgspec.structs.replace(
                    one,
                    address=backends.address(len(clusters) + number),
                    port=backends.port,
                    mesh=isinstance(tls, MeshUpstream),
                    identity="",
                )
                for number, one in enumerate(_balanced(section))
            )
            clusters |= {one.address: section.name for one in endpoints}
            protocol = section.protocol if section.protocol in ("http2", "same") else "http1"
            source = StaticEndpoints(endpoints)
            section = msgspec.structs.replace(section, endpoints=source, tls=tls, protocol=protocol)
        if isinstance(section, RouteBlock):
            several = any(len(one.chains) > 1 for one in prepared.listeners.values())
            section = msgspec.structs.replace(
                section, routes=tuple(_steady(one, several=several) for one in section.routes)
            )
        if isinstance(section, Proxy):
            section = msgspec.structs.replace(section, access_log=AccessLog(str(log), "JSON") if log else AccessLog())
        sections.append(section)
    return slice_of(*sections), clusters


def _steady(route: Route, *, several: bool) -> Route:
    """A route whose limits gain no token while requests are compared, so that both engines have the same left.

    Where ``several`` chains share a limit, of which each counts by itself in Envoy, there are tokens for everybody."""
    limits = tuple(
        msgspec.structs.replace(one, interval_ms=DAY_MS * one.requests, burst=PLENTY if several else one.burst)
        for one in route.limits
    )
    return msgspec.structs.replace(route, limits=limits) if limits else route


def _balanced(section: Cluster) -> tuple[Endpoint, ...]:
    """The endpoints that a cluster is given: its own where which of them is chosen can be compared, else one."""
    comparable = section.hashing is not None or section.outlier is not None or section.locality is not None
    if comparable and isinstance(section.endpoints, StaticEndpoints) and section.endpoints.endpoints:
        return section.endpoints.endpoints
    return (Endpoint("", 0),)


@asynccontextmanager
async def both(
    prepared: PreparedSlice, backends: Backends, authority: Authority, folder: Path, *, locality: str = ""
) -> AsyncIterator[Engines]:
    """Runs both engines, which stand in a locality, for the duration of a block; raises UntranslatableError before anything runs."""
    logs = (folder / "trio.jsonl", folder / "envoy.jsonl")
    for log in logs:
        log.unlink(missing_ok=True)
    slice_, clusters = grounded(prepared, backends, logs[0])
    grounded_prepared = prepare(slice_)
    sections = [one for one in grounded_prepared.sections.values() if isinstance(one, Cluster)]
    if backends.certificates is not None:
        backends.certificates.expect(sections)
    listeners = list(grounded_prepared.listeners.values())
    ours, sockets = _placed(listeners, locality)
    theirs, reserved = _placed(listeners, locality, reserved=True)
    svid = authority.svid(prepared.proxy.workload.identity)
    credentials = [authority.credential(name, *hosts) for name, hosts in _slots(listeners, sections).items()]
    addresses = {
        one.name: (_port(ours, one), _port(theirs, one)) for one in listeners if ours.resolve(one.bind) is not None
    }
    for_envoy = prepare(grounded(prepared, backends, logs[1])[0])
    translated = translate(for_envoy, Placement(theirs, LiveData(theirs), Delivery.STATIC))
    secrets = [*of_svid(svid), *(one for credential in credentials for one in of_credential(credential))]
    wanted = [one for one in secrets if one.name in translated.secrets]
    configuration = json.dumps(plain(static_bootstrap(translated, wanted, prepared.proxy)))
    async with _trio(slice_, ours, sockets, svid, credentials), _envoy(configuration, folder) as envoy:
        for name, (_, port) in addresses.items():
            wait = wait_bound if grounded_prepared.listeners[name].protocol == "udp" else _wait_open
            await wait(port, envoy, folder / "envoy.log")
        for sock in reserved.values():
            sock.close()
        yield Engines(grounded_prepared, addresses, clusters, authority, logs)


def _port(bootstrap: Bootstrap, listener: Listener) -> int:
    address = bootstrap.resolve(listener.bind)
    assert address is not None
    return address[1]


def _slots(listeners: Sequence[Listener], clusters: Sequence[Cluster]) -> dict[str, list[str]]:
    """The credential slots that are used, with the names that their certificates must bear."""
    found: dict[str, list[str]] = {}
    for cluster in clusters:
        if isinstance(cluster.tls, TlsUpstream):
            for name in (cluster.tls.ca, cluster.tls.credential):
                if name:
                    found.setdefault(name, ["fallback.test"])
    for listener in listeners:
        for chain in listener.chains:
            if isinstance(chain.tls, ServerTls):
                for name in (*chain.tls.credentials, *([chain.tls.client_ca] if chain.tls.client_ca else [])):
                    found.setdefault(name, ["fallback.test"]).extend(chain.server_names)
    return found


def _placed(
    listeners: Sequence[Listener], locality: str, *, reserved: bool = False
) -> tuple[Bootstrap, dict[str, socket.socket]]:
    """A bootstrap with a free port for each listener, and the sockets that hold the ports: listening, or so that Envoy may bind them, too."""
    sockets: dict[str, socket.socket] = {}
    port_map: dict[str, int] = {}
    services: dict[str, str] = {}
    outbound = -1
    for listener in listeners:
        datagrams = listener.protocol == "udp"
        if datagrams:
            sock = datagram_socket(("127.0.0.1", 0), shared=False)
        elif reserved:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 0))
        else:
            sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        port = sock.getsockname()[1]
        match listener.bind:
            case GatewayPort(number, datagrams=True):
                port_map[f"{number}/udp"] = port
            case GatewayPort(number) | WorkloadPort(number):
                port_map[str(number)] = port
            case ProxyPort():
                outbound = port
            case ServicePort(host, number):
                services[f"{host}:{number}"] = f"127.0.0.1:{port}"
            case AddressPort(address, number):
                services[f"{address or '127.0.0.1'}:{number}"] = f"127.0.0.1:{port}"
        if datagrams and reserved:
            # Nobody else may read there, or what is sent to Envoy would be shared out.
            sock.close()
            continue
        sockets[socket_name(("127.0.0.1", port), datagrams=datagrams)] = sock
    ports = Ports(admin=-1, outbound=outbound, metrics=-1, merged_metrics=-1, readiness=-1)
    bootstrap = Bootstrap(Selector(), "", "", "", port_map=port_map, services=services, ports=ports, locality=locality)
    return bootstrap, sockets


@asynccontextmanager
async def _trio(
    slice_: Slice,
    bootstrap: Bootstrap,
    sockets: dict[str, socket.socket],
    svid: Svid,
    credentials: list[Credential],
) -> AsyncIterator[None]:
    proxy = DataPlane(bootstrap, sockets)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        proxy.set_svid(svid)
        proxy.set_credentials(credentials)
        proxy.swap(await proxy.prepare(slice_))
        yield
        assert proxy.lane.bugs == 0, "a bug was caught in the lane: see the log"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _envoy(configuration: str, folder: Path) -> AsyncIterator[trio.Process]:
    file = folder / "envoy.json"
    file.write_text(configuration)
    command = [str(require_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
    with (folder / "envoy.log").open("wb") as log:
        process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        yield process
    finally:
        # Asked first, so that it writes what it has of the log.
        with trio.CancelScope(shield=True), trio.move_on_after(END_S):
            process.terminate()
            await process.wait()
        process.kill()
        await process.wait()


def _end_of(log: Path) -> str:
    return f"Envoy ended: {log.read_text()[-2000:]}"


async def wait_bound(port: int, envoy: trio.Process, log: Path) -> None:
    """Returns once Envoy takes datagrams on a port, which it does not tell whoever sends one."""
    with trio.fail_after(START_S):
        while not takes_datagrams(port):
            assert envoy.returncode is None, _end_of(log)
            await trio.sleep(0.01)


def takes_datagrams(port: int) -> bool:
    """Whether anybody has bound a port for datagrams."""
    return f":{port:04X} " in Path("/proc/net/udp").read_text()


async def _wait_open(port: int, envoy: trio.Process, log: Path) -> None:
    with trio.fail_after(START_S):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                assert envoy.returncode is None, _end_of(log)
                await trio.sleep(0.01)
            else:
                await stream.aclose()
                return
