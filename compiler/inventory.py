"""All documents of a tree by their outlines, and each opened only when somebody asks for it.

Documents are numbered in the order of files and lines. What is put together from several of them, a namespace's surroundings or scope, is a set
of such numbers, so that equal sets hold the same documents in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import msgspec

from compiler.catalog import diagnostic
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Related
from compiler.files import HeldFile
from compiler.gateways import GatewayProxy, gateway_proxies
from compiler.mesh import Mesh
from compiler.node import Document
from compiler.outline import Outline, Place
from compiler.resources.cursor import Labels, Positions
from compiler.resources.destination_rule import DestinationRule
from compiler.resources.gateway import Gateway
from compiler.resources.kubernetes import Service, Workload
from compiler.resources.load import Resource, Resources
from compiler.resources.mesh_config import MeshConfig
from compiler.resources.meta import BY_DEFAULT
from compiler.resources.service_entry import ServiceEntry
from compiler.resources.virtual_service import VirtualService
from compiler.resources.written import WORKLOAD_KINDS
from policies.source import Position, SourceRef

Numbers = Iterable[int]
Exported = Service | ServiceEntry | VirtualService | DestinationRule


class Inventory:
    """Owns the indexes over the outlines of some files. Of two documents that define the same resource only the first is in it.

    ``repeated`` says which the others are.
    """

    def __init__(self, files: Iterable[HeldFile]) -> None:
        self.outlines: list[Outline] = []
        self.repeated: list[Diagnostic] = []
        self._files: list[HeldFile] = []
        self._every = list(files)
        self.by_kind: dict[str, list[int]] = {}
        self.by_home: dict[str, dict[str, list[int]]] = {}
        seen: dict[tuple[str, str, str], Outline] = {}
        for file in self._every:
            for item in file.outline.documents:
                if item.digest:
                    first = seen.setdefault((item.kind, item.namespace, item.name), item)
                    if first is not item:
                        self.repeated.append(_repeated(item, first))
                        continue
                self._add(file, item)
        self._exports = dict(self.config.exports)
        for kind, scopes in self._exports.items():
            for number in self.by_kind.get(kind, ()):
                self.outlines[number] = _exported(self.outlines[number], scopes)

    @cached_property
    def closing(self) -> frozenset[str]:
        """The namespaces of which something cannot be read at all."""
        return frozenset(namespace for file in self._every for namespace in file.outline.closed)

    def closed(self) -> Inventory:
        """The same with everything failing in the namespaces that are closing."""
        return Inventory([file.closing(self.closing) for file in self._every]) if self.closing else self

    def _add(self, file: HeldFile, item: Outline) -> None:
        number = len(self.outlines)
        self.outlines.append(item)
        self._files.append(file)
        self.by_kind.setdefault(item.kind, []).append(number)
        self.by_home.setdefault(item.home, {}).setdefault(item.kind, []).append(number)

    def of_kinds(self, *kinds: str) -> list[int]:
        """The documents of some kinds, in the order between competitors (as ``Resources`` has it)."""
        found = [number for kind in kinds for number in self.by_kind.get(kind, ())]
        # Of equal ones that which stands first comes first, whatever its kind.
        return sorted(found, key=lambda number: (self.outlines[number].order, number))

    def state(self, number: int) -> bytes:
        """What tells two states of a document apart, positions and all that it says included."""
        file, item = self._files[number], self.outlines[number]
        return file.key + b"%d" % item.number

    def document(self, number: int) -> Document:
        """The document itself."""
        return self._files[number].document(self.outlines[number].number)

    def resource(self, number: int) -> Resource:
        """The resource in a document of a kind that has one."""
        read = self._files[number].read(self.outlines[number].number)
        assert read is not None, "only kinds of resources are asked for"
        found = read.resource
        # Few meshes say that what is exported to nobody in particular is not exported to everybody.
        if self._exports and isinstance(found, Exported) and found.export_to == BY_DEFAULT:
            scopes = self._exports.get(self.outlines[number].kind, BY_DEFAULT)
            return msgspec.structs.replace(found, export_to=scopes)
        return found

    def positions(self, numbers: Numbers) -> Positions:
        """Where the named parts of some resources stand."""
        found: Positions = {}
        for number in numbers:
            found.update(self.positions_in(number))
        return found

    def positions_in(self, number: int) -> Positions:
        """Where the named parts of one resource stand."""
        read = self._files[number].read(self.outlines[number].number)
        return {} if read is None else read.positions

    def documents(self) -> Iterator[Document]:
        """All documents, those of repeated definitions not."""
        return (self.document(number) for number in range(len(self.outlines)))

    def resources(self, numbers: Sequence[int]) -> Resources:
        """Some documents, and the resources in them."""
        found = [self.resource(number) for number in numbers if self.outlines[number].digest]
        return Resources(found, [self.document(number) for number in numbers])

    def mesh(self, dates: Dates | None = None) -> Mesh:
        """The mesh of everything."""
        return Mesh(self.resources(range(len(self.outlines))), dates=dates)

    @cached_property
    def config_number(self) -> int | None:
        """Which document has the mesh's settings; None where nobody wrote any."""
        return next(iter(self.of_kinds("MeshConfig")), None)

    @cached_property
    def config(self) -> MeshConfig:
        """The mesh's settings."""
        number = self.config_number
        read = None if number is None else self._files[number].read(self.outlines[number].number)
        found = MeshConfig() if read is None else read.resource
        assert isinstance(found, MeshConfig)
        return found

    @cached_property
    def workloads(self) -> list[int]:
        """All workloads, in order."""
        return self.of_kinds(*WORKLOAD_KINDS)

    @cached_property
    def by_declared_host(self) -> dict[str, list[int]]:
        """Services and ServiceEntries by host."""
        return self._by_host("Service", "ServiceEntry")

    def with_aliased(self, hosts: Iterable[str]) -> set[str]:
        """Some hosts, and those that they are aliases of (Services of type ExternalName)."""
        found: set[str] = set()
        left = list(hosts)
        while left:
            host = left.pop()
            if host not in found:
                found.add(host)
                left += (one for n in self.by_declared_host.get(host, ()) for one in self.outlines[n].facts.leads)
        return found

    @cached_property
    def by_place(self) -> dict[tuple[str, str, str], int]:
        """The documents by kind, namespace and name; of several the first."""
        found: dict[tuple[str, str, str], int] = {}
        for number, item in enumerate(self.outlines):
            found.setdefault((item.kind, item.namespace, item.name), number)
        return found

    def _by_host(self, *kinds: str) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number in self.of_kinds(*kinds):
            for host in self.outlines[number].facts.hosts:
                found.setdefault(host, []).append(number)
        return found

    @cached_property
    def by_ruled_host(self) -> dict[str, list[int]]:
        """DestinationRules by host."""
        return self._by_host("DestinationRule")

    @cached_property
    def by_routed_host(self) -> dict[str, list[int]]:
        """VirtualServices by host."""
        return self._by_host("VirtualService")

    def in_home(self, home: str, *kinds: str) -> list[int]:
        """The documents of some kinds in a namespace, kind by kind."""
        own = self.by_home.get(home, {})
        return [number for kind in kinds if kind in own for number in own[kind]]

    def with_labels(self, selector: Labels) -> list[int]:
        """The workloads of all namespaces whose pods have all labels of a selector; an empty one has them all."""
        wanted = set(selector)
        return [number for number in self.workloads if wanted.issubset(self.outlines[number].facts.labels)]

    @cached_property
    def gateways(self) -> dict[Place, Gateway]:
        """Istio's Gateways by namespace and name, in order."""
        found: dict[Place, Gateway] = {}
        for number in self.of_kinds("Gateway"):
            item = self.resource(number)
            assert isinstance(item, Gateway)
            found[item.meta.namespace, item.meta.name] = item
        return found

    def gateway_selected(self, gateway: Gateway) -> list[Workload]:
        """The workloads that a Gateway selects, as ``Mesh.gateway_selected`` has them."""
        found = [self.resource(number) for number in self.with_labels(gateway.selector)] if gateway.selector else []
        return [item for item in found if isinstance(item, Workload)]

    @cached_property
    def gateway_workloads(self) -> frozenset[Place]:
        """Namespace and name of every workload that is a gateway."""
        return frozenset(
            (workload.meta.namespace, workload.meta.name)
            for gateway in self.gateways.values()
            for workload in self.gateway_selected(gateway)
        )

    @cached_property
    def proxies(self) -> dict[str, list[GatewayProxy]]:
        """The gateways that Istio's Gateways configure, by namespace."""
        found: dict[str, list[GatewayProxy]] = {}
        for proxy in gateway_proxies(self):
            found.setdefault(proxy.namespace, []).append(proxy)
        return found


class PositionsOf(Mapping[SourceRef, Position]):
    """Where every named part of every resource stands; a resource is opened when it is asked for one of its parts."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __getitem__(self, source: SourceRef) -> Position:
        number = self._inventory.by_place.get((source.kind, source.namespace, source.name))
        if number is None:
            raise KeyError(source)
        return self._inventory.positions_in(number)[source]

    def __iter__(self) -> Iterator[SourceRef]:
        return iter(self._inventory.positions(range(len(self._inventory.outlines))))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _exported(item: Outline, scopes: tuple[str, ...]) -> Outline:
    """An outline with what the mesh says of its kind, where it says nothing itself."""
    if item.facts.exports != BY_DEFAULT:
        return item
    return msgspec.structs.replace(item, facts=msgspec.structs.replace(item.facts, exports=scopes))


def _repeated(item: Outline, first: Outline) -> Diagnostic:
    return diagnostic(
        "WFT0100",
        f"{item.id} is defined twice; only one of them can hold",
        item.span,
        resource=item.id,
        related=(Related(first.span, "the first definition"),),
    )
