"""What a workload's Sidecar lets its proxy know: the hosts of services, the rules for them, and what becomes of everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compiler.hosts import covers, overlap
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from compiler.resources.kubernetes import Workload
from compiler.resources.sidecar import ANY_NAMESPACE, EgressHost, Sidecar


class Reach:
    """The hosts of a Sidecar's egress as the proxies of a namespace obey them. Never changed after construction.

    Hosts are looked up by namespace: an exact one costs the same however many there are.
    """

    def __init__(self, hosts: Iterable[EgressHost], namespace: str) -> None:
        self._exact: dict[str, set[str]] = {}
        self._patterns: dict[str, list[str]] = {}
        self._excluded: dict[str, list[str]] = {}
        for entry in hosts:
            owner = namespace if entry.namespace == "." else entry.namespace
            if entry.excluded:
                self._excluded.setdefault(owner, []).append(entry.host)
            elif entry.host.startswith("*"):
                self._patterns.setdefault(owner, []).append(entry.host)
            else:
                self._exact.setdefault(owner, set()).add(entry.host)

    @property
    def namespaces(self) -> frozenset[str] | None:
        """The namespaces of which some host may be known; None is any."""
        named = frozenset((*self._exact, *self._patterns))
        return None if ANY_NAMESPACE in named else named

    def admits(self, owner: str, host: str) -> bool:
        """Whether a service is known: the host (a name, or a ServiceEntry's pattern) that the namespace ``owner`` declares."""
        if any(covers(pattern, host) for pattern in _of(self._excluded, owner)):
            return False
        if any(host in self._exact.get(place, ()) for place in (owner, ANY_NAMESPACE)):
            return True
        return any(covers(pattern, host) for pattern in _of(self._patterns, owner))

    def imports(self, owner: str, hosts: Iterable[str]) -> bool:
        """Whether a VirtualService of ``owner`` holds: one of its hosts and a known one have something in common (Istio)."""
        return any(self._imports(owner, host) for host in hosts)

    def _imports(self, owner: str, host: str) -> bool:
        if any(covers(pattern, host) for pattern in _of(self._excluded, owner)):
            return False
        if any(host in self._exact.get(place, ()) for place in (owner, ANY_NAMESPACE)):
            return True
        known = (*_of(self._patterns, owner), *(_of(self._exact, owner) if host.startswith("*") else ()))
        return any(overlap(host, other) is not None for other in known)


def _of(found: dict[str, list[str]] | dict[str, set[str]], owner: str) -> list[str]:
    return [*found.get(owner, ()), *found.get(ANY_NAMESPACE, ())]


def holding_sidecar(mesh: Mesh, workload: Workload) -> Sidecar | None:
    """The Sidecar that holds for a workload."""
    own = mesh.sidecars_in(workload.meta.namespace)
    return holding(own, mesh.sidecars_in(mesh.config.root_namespace), workload.labels)


def holding(own: Sequence[Sidecar], roots: Sequence[Sidecar], labels: Labels) -> Sidecar | None:
    """The Sidecar that holds for pods of these labels: of those of their namespace the first that selects them, then the first without a
    selector, then the root namespace's without one (Istio).
    """
    selecting = (item for item in own if item.selector is not None and set(item.selector).issubset(labels))
    everywhere = (item for item in (*own, *roots) if item.selector is None)
    return next(selecting, None) or next(everywhere, None)
