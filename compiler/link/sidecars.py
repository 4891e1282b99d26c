"""Sidecar slices: one per workload of Git that is not a gateway."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from compiler.diagnostic import ResourceId
from compiler.link.authorization import POLICIES, denying, policy_set
from compiler.link.draft import LinkedPart, LinkedSlice, ProxyShape, SliceDraft
from compiler.link.inbound import inbound
from compiler.link.names import Naming, ServiceAddresses, naming
from compiler.link.outbound import Outbound
from compiler.link.port_tables import PROXY, Share
from compiler.link.proxies import proxy_section
from compiler.link.reach import Reach, holding_sidecar
from compiler.link.tokens import guarded
from compiler.link.view import Selectors, View, held_selectors
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Workload
from compiler.resources.sidecar import EgressListener, Sidecar
from compiler.resources.virtual_service import ConnectionMatch, HttpMatch


class OutboundParts:
    """Outbound sections of a namespace, linked once per Sidecar, way to answer DNS, and combination of the labels that some VirtualService or
    DestinationRule asks for. Owns them."""

    def __init__(self, mesh: Mesh, view: View) -> None:
        self._mesh = mesh
        self._view = view
        self._shares: dict[tuple[ResourceId | None, Naming | None, Selectors], list[Share]] = {}
        self._addresses: dict[Naming | None, ServiceAddresses] = {}
        self._asked = _asked_labels(mesh)
        self._parts: dict[tuple[ResourceId | None, Naming | None, Selectors, Labels], LinkedPart] = {}

    def of(self, workload: Workload, holding: Sidecar | None) -> LinkedPart:
        """The outbound sections of one workload, for which a Sidecar or none holds."""
        name = holding.meta.id if holding else None
        labels = tuple(pair for pair in workload.labels if pair[0] in self._asked)
        asked = naming(self._mesh, workload)
        held = held_selectors(self._mesh, workload.meta.namespace, workload.labels)
        key = name, asked, held, labels
        if key not in self._parts:
            shares = self._shares_of(holding, workload.meta.namespace, asked, held)
            self._parts[key] = LinkedPart(Outbound(shares, labels, holding, asked).link())
        return self._parts[key]

    def _shares_of(self, holding: Sidecar | None, namespace: str, asked: Naming | None, held: Selectors) -> list[Share]:
        egress = holding.egress if holding is not None else None
        name = holding.meta.id if holding is not None and egress is not None else None
        if (name, asked, held) not in self._shares:
            if asked not in self._addresses:
                self._addresses[asked] = ServiceAddresses(self._mesh, namespace, asked)
            addresses = self._addresses[asked]
            if egress is None:
                view = View(self._mesh, namespace, held=held) if held else self._view
                shares = [Share(view, addresses=addresses)]
            else:
                shares = list(_shares(self._mesh, namespace, egress, addresses, held))
            self._shares[name, asked, held] = shares
        return self._shares[name, asked, held]


def _shares(
    mesh: Mesh, namespace: str, egress: tuple[EgressListener, ...], addresses: ServiceAddresses, held: Selectors
) -> Iterator[Share]:
    named: set[int] = set()
    # The listener without a port has what all others leave, wherever it stands.
    for written in sorted(egress, key=lambda one: one.port is None):
        view = View(mesh, namespace, Reach(written.hosts, namespace), held=held)
        yield Share(view, written, frozenset(named), addresses)
        if written.port and written.protocol != PROXY:
            named.add(written.port)


def sidecar(mesh: Mesh, workload: Workload, parts: OutboundParts) -> LinkedSlice:
    """The slice of one workload's sidecar."""
    holding = _closed(workload) if workload.fails else holding_sidecar(mesh, workload)
    draft = SliceDraft(parts.of(workload, holding))
    policies = policy_set(mesh, workload.meta.namespace, workload.labels)
    if workload.fails:
        policies = denying(workload.meta.source)
    if policies is not None:
        draft.add((policies,))
    entries = inbound(mesh, workload, holding, POLICIES if policies else "")
    draft.add(guarded(entries, mesh, workload.meta.namespace, workload.labels))
    shape = ProxyShape(
        name=f"sidecar/{workload.meta.namespace}/{mesh.workload_name(workload)}",
        proxy="sidecar",
        namespace=workload.meta.namespace,
        labels=workload.labels,
    )
    proxy = proxy_section(mesh, workload)
    if naming(mesh, workload) is not None:
        proxy = msgspec.structs.replace(proxy, serves_dns=True)
    return draft.finish(shape, proxy)


def _closed(workload: Workload) -> Sidecar:
    """What holds for a workload that stands in for a broken one: it knows nobody."""
    source = workload.meta.source
    return Sidecar(workload.meta, None, (EgressListener((), None, "", None, source),), "REGISTRY_ONLY", source)


def _asked_labels(mesh: Mesh) -> frozenset[str]:
    matches: list[HttpMatch | ConnectionMatch] = []
    for service in mesh.virtual_services:
        matches += [match for rule in service.http for match in rule.matches]
        matches += [match for rule in (*service.tls, *service.tcp) for match in rule.matches]
    return frozenset(name for match in matches for name, _ in match.scope.source_labels)
