"""What the slices of one namespace can depend on: a scope is the mesh without everything else.

Slices are linked from a scope and from nothing else, so whatever they turn out to be follows from the resources in it, in their order.
Their digest is the scope's fingerprint: a namespace whose fingerprint is known need not be linked again, and no list of what link happens to
read has to be kept right by hand. A resource that is left out here by mistake is missing from every compilation, the first one too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cached_property

from compiler.gateways import GatewayProxy
from compiler.hosts import is_visible
from compiler.inventory import Inventory
from compiler.link.known import Known, declaring
from compiler.mesh import Mesh
from compiler.outline import ADDRESSED, API_GATEWAY, DECLARING, Outline, Place
from compiler.resources.load import Resources
from compiler.resources.written import WORKLOAD_KINDS
from snapshot.encode import encode

ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
AROUND = ("WorkloadEntry", "Endpoints", "EndpointSlice", "BackendTLSPolicy")
"""Kinds that matter to whoever sees a service of their namespace."""
OVER = ("PeerAuthentication", "DestinationRule")
"""Kinds that matter to whoever sees a service of their namespace, and to all in the root namespace."""
OWN = ("Sidecar", "AuthorizationPolicy", "RequestAuthentication", "ProxyConfig", "ConnectionPolicy")
"""Kinds that hold for the proxies of their namespace, and for all in the root namespace."""


class Scope:
    """One namespace's scope. Owns nothing: the resources are the inventory's. ``proxies`` are the Istio gateways that stand in it."""

    def __init__(self, namespace: str, numbers: Iterable[int], inventory: Inventory) -> None:
        self.namespace = namespace
        self.proxies: list[GatewayProxy] = inventory.proxies.get(namespace, [])
        self._numbers = sorted(numbers)
        self._inventory = inventory

    def mesh(self) -> Mesh:
        """The mesh of these resources alone."""
        found = [self._inventory.resource(number) for number in self._numbers]
        return Mesh(Resources(found), gateway_workloads=self._gateways)

    @cached_property
    def _gateways(self) -> frozenset[Place]:
        """Which of its workloads are gateways."""
        gateways = self._inventory.gateway_workloads
        if not gateways:
            return gateways
        outlines = (self._inventory.outlines[number] for number in self._numbers)
        return gateways & {(item.namespace, item.name) for item in outlines if item.kind in WORKLOAD_KINDS}

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def fingerprint(self) -> bytes:
        """A digest of everything that is in the scope. Equal fingerprints have equal slices, positions included."""
        return self._digest(lambda item: item.digest)

    @cached_property
    def content(self) -> bytes:
        """A digest of everything but positions. Scopes of equal content have slices that differ in their provenance at most."""
        return self._digest(lambda item: item.content)

    def _digest(self, state: Callable[[Outline], bytes]) -> bytes:
        whole = hashlib.sha256(encode([self.namespace, sorted(self._gateways)]))
        outlines = self._inventory.outlines
        whole.update(b"".join([state(outlines[number]) for number in self._numbers]))
        for proxy in self.proxies:
            whole.update(encode([proxy.name, proxy.account, len(proxy.gateways)]))
            named = [proxy.workload.meta.id] if proxy.workload else []
            for item in (*named, *(gateway.meta.id for gateway in proxy.gateways)):
                whole.update(state(outlines[self._inventory.by_place[item.kind, item.namespace, item.name]]))
        return whole.digest()


class Scopes:
    """The scopes of a mesh. Owns the indexes that only they need, so that a scope costs what is in it."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._root = inventory.config.root_namespace
        self._known = Known(inventory)
        self._routes = [(number, inventory.outlines[number]) for number in inventory.of_kinds(*ROUTES)]
        # An EndpointSlice may list a pod of any namespace.
        self._addressed = [n for n in inventory.workloads if ADDRESSED in inventory.outlines[n].facts.traits]

    def all(self) -> Iterator[Scope]:
        """A scope for each namespace that has a proxy."""
        outlines = self._inventory.outlines
        gateways = self._inventory.by_kind.get(API_GATEWAY, ())
        namespaces = {outlines[number].namespace for number in (*self._inventory.workloads, *gateways)}
        for namespace in sorted(namespaces | self._inventory.proxies.keys()):
            yield Scope(namespace, self._numbers(namespace), self._inventory)

    def _numbers(self, namespace: str) -> set[int]:
        inventory = self._inventory
        services, rules = self._known.to(namespace)
        services.update(inventory.in_home(namespace, *DECLARING))
        around = {namespace, *(inventory.outlines[number].namespace for number in services)}
        sets = self._listener_sets(namespace)
        listening = {inventory.outlines[number].namespace for number in sets}
        routes = [(number, route) for number, route in self._routes if _concerns(route, namespace, around, listening)]
        services.update(declaring(inventory, (host for _, route in routes for host in route.facts.leads)))
        around.update(inventory.outlines[number].namespace for number in services)
        found = {*services, *rules, *self._addressed, *(number for number, _ in routes)}
        found.update(self._rules_over(namespace, around))
        found.update(sets)
        found.update(self._at_gateways(namespace, sets, with_routes=bool(routes)))
        owners = {inventory.outlines[number].namespace for number in found}
        found.update(number for home in owners for number in inventory.in_home(home, "RateLimit"))
        if inventory.config_number is not None:
            found.add(inventory.config_number)
        return found

    def _rules_over(self, namespace: str, around: Iterable[str]) -> Iterator[int]:
        """What else holds for a namespace that sees services of the namespaces around."""
        inventory, root = self._inventory, self._root
        for home in around:
            yield from inventory.in_home(home, *WORKLOAD_KINDS, *AROUND)
        for home in {*around, root}:
            yield from (number for number in inventory.in_home(home, *OVER) if self._reaches(number, namespace))
        for home in {namespace, root}:
            yield from inventory.in_home(home, *OWN)

    def _listener_sets(self, namespace: str) -> list[int]:
        """The ListenerSets that add to a Gateway of a namespace, wherever they stand."""
        inventory = self._inventory
        if not inventory.in_home(namespace, API_GATEWAY):
            return []
        sets = inventory.by_kind.get("ListenerSet", ())
        return [number for number in sets if ("Gateway", namespace) in inventory.outlines[number].facts.parents]

    def _at_gateways(self, namespace: str, sets: list[int], *, with_routes: bool) -> Iterator[int]:
        """What the Gateways of Gateway API in a namespace, and what is added to them, depend on, and routes anywhere."""
        inventory = self._inventory
        own = inventory.in_home(namespace, API_GATEWAY)
        if own or with_routes:
            yield from inventory.by_kind.get("ReferenceGrant", ())
        if own:
            yield from own
            for kind in ("GatewayClass", "Namespace"):
                yield from inventory.by_kind.get(kind, ())
        for place in {place for number in (*own, *sets) for place in inventory.outlines[number].facts.refs}:
            held = inventory.by_place.get(("Secret", *place))
            if held is not None:
                yield held

    def _reaches(self, number: int, namespace: str) -> bool:
        item = self._inventory.outlines[number]
        return item.kind != "DestinationRule" or is_visible(item.facts.exports, item.namespace, namespace)


def _concerns(route: Outline, namespace: str, around: Container[str], listening: Container[str]) -> bool:
    """Whether a route is for a Gateway of the namespace, for a ListenerSet that adds to one, or for a Service of those around it."""
    homes: dict[str, Container[str]] = {"Gateway": (namespace,), "ListenerSet": listening}
    return any(owner in homes.get(kind, around) for kind, owner in route.facts.parents)
