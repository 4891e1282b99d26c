"""A real Envoy on hand-made sections, for tests that hold the two engines against each other by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap, Ports
from runtime.endpoints import LiveData
from runtime.envoy.binary import require_envoy
from runtime.envoy.placement import Delivery, Placement
from runtime.envoy.secrets import of_credential, of_svid
from runtime.envoy.static import plain, static_bootstrap
from runtime.envoy.translate import translate
from runtime.supervisor.sockets import datagram_socket
from snapshot.index import Selector
from snapshot.live import Credential, RegisteredWorkload, Registry, Svid
from snapshot.section import Section
from tests.differential.engines import wait_bound
from tests.ports import free_port
from tests.slices import prepared_of

START_S = 30.0


class RunningEnvoy:
    """One Envoy that serves. ``ports`` says which real port each of the slice's ports became."""

    def __init__(self, process: trio.Process, ports: dict[int, int], datagrams: dict[int, int], log: Path) -> None:
        self.process = process
        self.ports = ports
        self.datagram_ports = datagrams
        self._log = log

    def resident_bytes(self) -> int:
        """What of the process is in memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096

    async def wait_open(self) -> None:
        """Returns when every listener accepts; an Envoy that ends instead fails the test with its own words."""
        with trio.fail_after(START_S):
            for port in self.ports.values():
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                        break
                    except OSError:
                        assert self.process.returncode is None, self._log.read_text()[-2000:]
                        await trio.sleep(0.01)
            for port in self.datagram_ports.values():
                await wait_bound(port, self.process, self._log)


@asynccontextmanager
async def envoying(
    folder: Path,
    *sections: Section,
    ports: tuple[int, ...] = (80,),
    datagram_ports: tuple[int, ...] = (),
    locality: str = "",
    workloads: Sequence[RegisteredWorkload] = (),
    svid: Svid | None = None,
    credentials: Sequence[Credential] = (),
    admin: int | None = None,
) -> AsyncIterator[RunningEnvoy]:
    """Runs Envoy with these sections; ``ports`` are the slice's gateway or workload ports, each bound to any free one, ``datagram_ports``
    those of them that are for datagrams. It stands in ``locality``, and ``workloads`` are registered. ``admin`` is the port of Envoy's own pages;
    None opens none.
    """
    real: dict[int, int] = {}
    for port in ports:
        real[port] = free_port()
    datagrams: dict[int, int] = {}
    for port in datagram_ports:
        with datagram_socket(("127.0.0.1", 0), shared=False) as sock:
            datagrams[port] = sock.getsockname()[1]
    own = Ports(admin=-1, outbound=-1, metrics=-1, merged_metrics=-1, readiness=-1)
    port_map = {str(port): number for port, number in {**real, **datagrams}.items()}
    bootstrap = Bootstrap(Selector(), "", "", "", port_map=port_map, ports=own, locality=locality)
    prepared = prepared_of(*sections)
    live = LiveData(bootstrap)
    live.with_registry(Registry(1, tuple(workloads)))
    place = Placement(bootstrap, live, Delivery.STATIC)
    translated = translate(prepared, place)
    secrets = [one for credential in credentials for one in of_credential(credential)]
    secrets += of_svid(svid) if svid is not None else []
    wanted = [one for one in secrets if one.name in translated.secrets]
    pages = ("127.0.0.1", admin) if admin is not None else None
    file, log = folder / "envoy.json", folder / "envoy.log"
    configuration = static_bootstrap(translated, wanted, prepared.proxy, admin=pages, place=place)
    file.write_text(json.dumps(plain(configuration)))
    command = [str(require_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
    command += ["--file-flush-interval-msec", "100"]
    with log.open("wb") as out:
        process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=out)
    try:
        running = RunningEnvoy(process, real, datagrams, log)
        await running.wait_open()
        yield running
    finally:
        process.kill()
        await process.wait()
