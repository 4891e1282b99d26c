"""Which services and VirtualServices the proxies of a namespace know: those that are exported to it, as far as their Sidecars leave them.

Where every proxy of a namespace has a Sidecar that names hosts, what those hosts lead to is all that its slices can depend on, and a change of
anything else does not link them again. One proxy that sees everything makes the namespace see everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.inventory import Inventory
from compiler.link.reach import Reach, holding
from compiler.outline import API_GATEWAY, DECLARING
from compiler.resources.cursor import Labels
from compiler.resources.sidecar import Sidecar
from compiler.resources.written import WORKLOAD_KINDS

RULES = "VirtualService"
SIDECAR = "Sidecar"


class Known:
    """Owns who exports what to whom, and the Sidecars by namespace."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._services = _Exported(inventory, inventory.of_kinds(*DECLARING))
        self._rules = _Exported(inventory, inventory.of_kinds(RULES))
        self._root = inventory.config.root_namespace
        self._opened: dict[str, list[Sidecar]] = {}

    def to(self, namespace: str) -> tuple[set[int], set[int]]:
        """The services and the VirtualServices of a namespace's proxies, among them all that other rules lead these to."""
        reaches = self._reaches(namespace)
        services = self._services.seen_from(namespace)
        rules = self._rules.seen_from(namespace)
        if reaches is None:
            return services, rules | self._delegates(rules)
        return self._within(namespace, reaches, services, rules)

    def _delegates(self, rules: Iterable[int]) -> set[int]:
        """The VirtualServices that some of these leave routes to, whomever they are exported to."""
        inventory = self._inventory
        places = {place for number in rules for place in inventory.outlines[number].facts.refs}
        found = (inventory.by_place.get((RULES, *place)) for place in places)
        return {number for number in found if number is not None}

    def _within(
        self, namespace: str, reaches: list[Reach], services: set[int], rules: set[int]
    ) -> tuple[set[int], set[int]]:
        outlines = self._inventory.outlines
        imported = {
            number
            for number in self._near(reaches, rules, RULES)
            if any(reach.imports(outlines[number].namespace, outlines[number].facts.hosts) for reach in reaches)
        }
        imported |= self._delegates(imported)
        admitted = [
            host
            for number in self._near(reaches, services, *DECLARING)
            for host in outlines[number].facts.hosts
            if any(reach.admits(outlines[number].namespace, host) for reach in reaches)
        ]
        named = (host for number in (*imported, *self._sidecars(namespace)) for host in outlines[number].facts.leads)
        return services.intersection(declaring(self._inventory, (*admitted, *named))), imported

    def _near(self, reaches: list[Reach], seen: set[int], *kinds: str) -> Iterable[int]:
        """Of what a namespace sees that which is in namespaces that some Sidecar names; of any where one names any."""
        limits = [reach.namespaces for reach in reaches]
        homes = {home for limit in limits if limit is not None for home in limit}
        if None in limits:
            return seen
        return seen.intersection(number for home in homes for number in self._inventory.in_home(home, *kinds))

    def _reaches(self, namespace: str) -> list[Reach] | None:
        """What the Sidecars of a namespace's workloads leave of the mesh; None where some proxy of it sees all."""
        sidecars = self._sidecars(namespace)
        at_gateways = namespace in self._inventory.proxies or self._inventory.in_home(namespace, API_GATEWAY)
        if not sidecars or at_gateways:
            return None
        found: dict[int, Sidecar] = {}
        for labels in {self._labels(number) for number in self._inventory.in_home(namespace, *WORKLOAD_KINDS)}:
            held = self._holding(namespace, labels)
            if held is None or held.egress is None:
                return None
            found[id(held)] = held
        return [Reach(one.hosts, namespace) for held in found.values() for one in held.egress or ()]

    def _holding(self, namespace: str, labels: Labels) -> Sidecar | None:
        return holding(self._written(namespace), self._written(self._root), labels)

    def _labels(self, number: int) -> Labels:
        return self._inventory.outlines[number].facts.labels

    def _sidecars(self, namespace: str) -> list[int]:
        """The Sidecars that may hold for a namespace's workloads."""
        return [number for home in {namespace, self._root} for number in self._inventory.in_home(home, SIDECAR)]

    def _written(self, namespace: str) -> list[Sidecar]:
        """The Sidecars of a namespace, in order."""
        if namespace not in self._opened:
            found = (self._inventory.resource(number) for number in self._inventory.in_home(namespace, SIDECAR))
            own = [item for item in found if isinstance(item, Sidecar)]
            self._opened[namespace] = sorted(own, key=lambda item: item.meta.order)
        return self._opened[namespace]


class _Exported:
    """Documents by the namespaces that they are exported to. Owns the sets."""

    def __init__(self, inventory: Inventory, numbers: Iterable[int]) -> None:
        self._seen: dict[str, set[int]] = {}
        for number in numbers:
            item = inventory.outlines[number]
            for scope in item.facts.exports:
                self._seen.setdefault(item.namespace if scope == "." else scope, set()).add(number)

    def seen_from(self, namespace: str) -> set[int]:
        """What is exported to a namespace. Costs what is seen, not what there is."""
        return self._seen.get("*", set()) | self._seen.get(namespace, set())


def declaring(inventory: Inventory, hosts: Iterable[str]) -> set[int]:
    """Who declares some hosts, or what those are aliases of."""
    named = inventory.with_aliased(hosts)
    return {number for host in named for number in inventory.by_declared_host.get(host, ())}
