"""Sidecar slices: one per workload of Git that is not a gateway."""

from __future__ import annotations

from compiler.diagnostic import ResourceId
from compiler.link.authorization import POLICIES, policy_set
from compiler.link.draft import LinkedPart, LinkedSlice, ProxyShape, SliceDraft
from compiler.link.inbound import inbound
from compiler.link.outbound import Outbound
from compiler.link.proxies import proxy_section
from compiler.link.reach import Reach, holding_sidecar
from compiler.link.view import View
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Workload
from compiler.resources.virtual_service import ConnectionMatch, HttpMatch


class OutboundParts:
    """Outbound sections of a namespace, linked once per Sidecar and combination of the labels that some VirtualService asks for. Owns them."""

    def __init__(self, mesh: Mesh, view: View) -> None:
        self._mesh = mesh
        self._views: dict[ResourceId | None, View] = {None: view}
        self._asked = _asked_labels(mesh)
        self._parts: dict[tuple[ResourceId | None, Labels], LinkedPart] = {}

    def of(self, workload: Workload) -> LinkedPart:
        """The outbound sections of one workload."""
        view_of, view = self._view(workload)
        labels = tuple(pair for pair in workload.labels if pair[0] in self._asked)
        if (view_of, labels) not in self._parts:
            self._parts[view_of, labels] = LinkedPart(Outbound(view, labels).link())
        return self._parts[view_of, labels]

    def _view(self, workload: Workload) -> tuple[ResourceId | None, View]:
        """What the workload's Sidecar leaves of the namespace's view, and the Sidecar's name."""
        holding = holding_sidecar(self._mesh, workload)
        name = holding.meta.id if holding else None
        if holding is not None and name not in self._views:
            namespace = workload.meta.namespace
            self._views[name] = View(self._mesh, namespace, Reach(holding, namespace))
        return name, self._views[name]


def sidecar(mesh: Mesh, workload: Workload, parts: OutboundParts) -> LinkedSlice:
    """The slice of one workload's sidecar."""
    draft = SliceDraft(parts.of(workload))
    policies = policy_set(mesh, workload.meta.namespace, workload.labels)
    if policies is not None:
        draft.add((policies,))
    draft.add(inbound(mesh, workload, POLICIES if policies else ""))
    shape = ProxyShape(
        name=f"sidecar/{workload.meta.namespace}/{mesh.workload_name(workload)}",
        proxy="sidecar",
        namespace=workload.meta.namespace,
        labels=workload.labels,
    )
    return draft.finish(shape, proxy_section(mesh, workload))


def _asked_labels(mesh: Mesh) -> frozenset[str]:
    matches: list[HttpMatch | ConnectionMatch] = []
    for service in mesh.virtual_services:
        matches += [match for rule in service.http for match in rule.matches]
        matches += [match for rule in (*service.tls, *service.tcp) for match in rule.matches]
    return frozenset(name for match in matches for name, _ in match.scope.source_labels)
