"""Who runs where: a snapshot's gateways and the workloads that ``weft-dev.toml`` names, each on a loopback address of its own. No I/O.

``<network>.2.1`` is the control plane, ``<network>.0.x`` the sidecars, ``<network>.1.x`` the gateways, and the next network has the applications.
"""

from __future__ import annotations

import msgspec

from runtime.supervisor.facts import SliceFacts, read_facts
from snapshot.index import Slice, Snapshot, assemble
from weft.dev.devfile import FILE, DevFile, ProcessSpec
from weft.local.bootstraps import LocalProxy
from weft.local.children import LocalError

FIRST, LAST = 2, 250
OUTBOUND = 15001
ADVISED = 5
PRIVILEGED_SHIFT = 8000
"""What is added to a gateway's port that only root may bind: 80 becomes 8080, 443 becomes 8443."""


class PlacedProcess(msgspec.Struct, frozen=True):
    """One process as it is started: its words, what its environment has besides ours, and its folder below that of the file."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str


class PlacedProxy(msgspec.Struct, frozen=True):
    """One proxy as it is started, with what its slice says: how many hosts it knows a way to, its own ports, and the credentials to make for it."""

    proxy: LocalProxy
    hosts: int
    ports: tuple[int, ...]
    credentials: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Everything that runs, by name. ``missing`` are the workloads that the file names and the mesh has not, ``unused`` the other way round."""

    trust_domain: str
    proxies: dict[str, PlacedProxy]
    processes: dict[str, PlacedProcess]
    missing: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @property
    def advice(self) -> list[str]:
        """What the developer should know of a placement that lacks something, in sentences."""
        told = ", ".join(self.unused[:ADVISED]) + (" and more" if len(self.unused) > ADVISED else "")
        others = f"it has {told}" if told else f"it has none at all: does `mesh` in {FILE} name the right folder?"
        said = [f"the mesh has no workload {one}, so its process is not started; {others}" for one in self.missing]
        if not self.proxies and not self.processes and not self.missing:
            said = [f"nothing runs: {FILE} names no process and the mesh has no gateway. Of workloads {others}"]
        return said


class Placer:
    """Owns who was given which address: who stays, stays where it is."""

    def __init__(self, file: DevFile, *, first_port: int) -> None:
        self._file = file
        self._first_port = first_port
        self._numbers: dict[str, int] = {}

    def place(self, snapshot: Snapshot) -> Placement:
        """Where everything of a snapshot runs."""
        sidecars = {f"sidecar/{spec.workload}": name for name, spec in self._file.process.items() if spec.workload}
        proxies: dict[str, PlacedProxy] = {}
        processes = {name: _placed(spec, {}) for name, spec in self._file.process.items() if not spec.workload}
        unused: list[str] = []
        domain = "cluster.local"
        for entry in snapshot.index.slices:
            name = sidecars.pop(entry.name, "")
            if entry.proxy == "sidecar" and not name:
                unused.append(entry.name.removeprefix("sidecar/"))
                continue
            slice_ = assemble(snapshot.digest, entry, snapshot.blobs)
            facts = read_facts(slice_)
            domain = facts.proxy.trust_domain
            if name:
                proxies[name] = self._sidecar(name, slice_, facts)
                processes[f"app-{name}"] = self._process(name, proxies[name])
            else:
                title = f"{entry.proxy}-{entry.name.rpartition('/')[2]}"
                proxies[title] = self._gateway(title, slice_, facts)
        missing = tuple(name.removeprefix("sidecar/") for name in sidecars)
        return Placement(domain, proxies, processes, missing, tuple(unused))

    def _number(self, kind: str, name: str) -> int:
        taken = {number for key, number in self._numbers.items() if key.startswith(f"{kind}/")}
        free = [number for number in range(FIRST, LAST) if number not in taken]
        if not free:
            raise LocalError(f"there are more than {LAST - FIRST} {kind}s: no address is left for {name}")
        return self._numbers.setdefault(f"{kind}/{name}", free[0])

    def _sidecar(self, name: str, slice_: Slice, facts: SliceFacts) -> PlacedProxy:
        spec, entry = self._file.process[name], slice_.entry
        number = self._number("sidecar", name)
        proxy = LocalProxy(
            name=name,
            kind="sidecar",
            address=f"{self._file.network}.0.{number}",
            namespace=entry.namespace,
            account=facts.proxy.workload.service_account,
            slice=entry.name,
            labels=entry.labels,
            application=spec.application or f"{self._file.application_network}.0.{number}",
            application_ports=tuple((int(port), real) for port, real in sorted(spec.ports.items())),
        )
        return PlacedProxy(proxy, _hosts(slice_), facts.inbound_ports)

    def _gateway(self, name: str, slice_: Slice, facts: SliceFacts) -> PlacedProxy:
        entry = slice_.entry
        port_map = tuple((port, port + PRIVILEGED_SHIFT) for port in facts.inbound_ports if port < self._first_port)
        proxy = LocalProxy(
            name=name,
            kind=entry.proxy,
            address=f"{self._file.network}.1.{self._number('gateway', name)}",
            namespace=entry.namespace,
            account=facts.proxy.workload.service_account,
            slice=entry.name,
            labels=entry.labels,
            port_map=port_map,
        )
        real = dict(port_map)
        ports = tuple(real.get(port, port) for port in facts.inbound_ports)
        slots = tuple((slot.name, slot.names) for slot in facts.proxy.credentials)
        return PlacedProxy(proxy, _hosts(slice_), ports, slots)

    def _process(self, name: str, placed: PlacedProxy) -> PlacedProcess:
        proxy = placed.proxy
        target = placed.ports[0] if placed.ports else 0
        port = dict(proxy.application_ports).get(target, target)
        outbound = f"{proxy.address}:{OUTBOUND}"
        told = {"{host}": proxy.application, "{port}": str(port), "{proxy}": outbound}
        return _placed(self._file.process[name], told)


def _placed(spec: ProcessSpec, told: dict[str, str]) -> PlacedProcess:
    def fill(text: str) -> str:
        for mark, value in told.items():
            text = text.replace(mark, value)
        return text

    environment = (
        {"HOST": "{host}", "PORT": "{port}", "http_proxy": "http://{proxy}", "no_proxy": "localhost,127.0.0.1"}
        if told
        else {}
    )
    environment |= spec.environment
    return PlacedProcess(
        tuple(fill(word) for word in spec.words),
        tuple((name, fill(value)) for name, value in environment.items()),
        spec.directory,
    )


def _hosts(slice_: Slice) -> int:
    return sum(ref.kind == "virtual_host" for ref in slice_.index.sections)
