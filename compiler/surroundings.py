"""What findings about the documents of one namespace can depend on: analysis looks at these surroundings and at nothing else.

As slices follow from scopes (compiler/link/scope.py), findings follow from surroundings: the namespace's own documents, and of the others those
that a check may look up from there. Every analysis is made of them, the first one too, so what is left out here by mistake is
missing always and never out of date. Their fingerprint says whether anything in them has changed.

A check that looks further than this has to have its reasons added here; tests compare with an analysis of the whole mesh at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property

from compiler.analysis import analyze
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic
from compiler.hosts import covers, is_visible, overlap
from compiler.inventory import Inventory
from compiler.mesh import Mesh, Outside
from compiler.outline import (
    API_GATEWAY,
    ASKS_CLAIMS,
    AT_GATEWAY,
    BUDGETS_RETRIES,
    CONTROL_PLANE,
    DECLARING,
    SETS_TLS,
    WEBHOOKS,
    Outline,
    home_of,
)
from compiler.resources.api_route import ROUTE_KINDS
from compiler.resources.cursor import Labels
from compiler.resources.mesh_config import CLUSTER_DOMAIN
from compiler.resources.written import WORKLOAD_KINDS
from snapshot.encode import encode

API_KINDS = (API_GATEWAY, "GatewayClass", "ListenerSet", "ReferenceGrant")
EVERYWHERE = ("MeshConfig", "Gateway", "MutatingWebhookConfiguration")
"""Kinds of which every namespace's checks see all: there are few, and they are about many."""
OF_THE_ROOT = ("RequestAuthentication", "PeerAuthentication")
"""Kinds whose resources in the root namespace hold in all."""
AMONG_THEMSELVES = {"EnvoyFilter": ("EnvoyFilter",), "MeshNetworks": ("Secret",)}
"""Kinds to whose checks all resources of some kinds matter."""
INJECTOR = "istio-sidecar-injector"


class Surroundings:
    """What one namespace's checks see, as numbers of the inventory. Owns nothing that changes."""

    def __init__(self, around: Neighbours, home: str) -> None:
        self.home = home
        self._around = around
        self._numbers = sorted(around.numbers(home))

    @cached_property
    def fingerprint(self) -> bytes:
        """A digest of all that is in them. Equal ones have equal findings."""
        inventory = self._around.inventory
        whole = hashlib.sha256(encode([self.home, self._around.outside]))
        for number in self._numbers:
            whole.update(inventory.state(number))
        return whole.digest()

    @property
    def depends_on_date(self) -> bool:
        """Whether findings may be others tomorrow: there may be a certificate, whose end comes near."""
        outlines = self._around.inventory.outlines
        return any(outlines[number].kind == "Secret" for number in self._numbers)

    def findings(self, dates: Dates | None) -> list[Diagnostic]:
        """What analysis finds in the namespace's own documents."""
        return [item for item in analyze(self.mesh(dates)) if item.resource and home_of(item.resource) == self.home]

    def mesh(self, dates: Dates | None) -> Mesh:
        """The mesh of what is in them."""
        around = self._around
        resources = around.inventory.resources(self._numbers)
        outside = Outside(self.home, around.namespaces, around.kinds, around.inventory.gateway_workloads)
        return Mesh(resources, dates=dates, outside=outside)


class Neighbours:
    """Finds out who is in whose surroundings. Owns the indexes that only this needs."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.kinds = frozenset(inventory.by_kind)
        self._root = inventory.config.root_namespace

    def all(self) -> list[Surroundings]:
        """The surroundings of every namespace that has a document."""
        return [Surroundings(self, home) for home in sorted(self.inventory.by_home)]

    @cached_property
    def namespaces(self) -> dict[str, Labels]:
        """All namespaces by name, with their labels."""
        found = (self.inventory.outlines[number] for number in self.inventory.of_kinds("Namespace"))
        return {item.name: item.facts.labels for item in found}

    @cached_property
    def outside(self) -> bytes:
        """A digest of what every check sees besides documents: all namespaces, which kinds there are, and which workloads are gateways."""
        gateways = sorted(self.inventory.gateway_workloads)
        return hashlib.sha256(encode([sorted(self.namespaces.items()), sorted(self.kinds), gateways])).digest()

    @cached_property
    def _everywhere(self) -> frozenset[int]:
        found = self.inventory.of_kinds(*EVERYWHERE)
        found += self.inventory.in_home(self._root, *OF_THE_ROOT)
        found += self._patterns(self._root)
        rules = self.inventory.by_kind.get("DestinationRule", ())
        found += [number for number in rules if self._is_pattern(number, BUDGETS_RETRIES)]
        configs = self.inventory.by_kind.get("ConfigMap", ())
        found += [number for number in configs if self.inventory.outlines[number].name.startswith(INJECTOR)]
        return frozenset(found)

    def numbers(self, home: str) -> set[int]:
        """All documents of a namespace's surroundings."""
        kinds = self.inventory.by_home[home]
        found = set(self._everywhere)
        for kind, own in kinds.items():
            found.update(own)
            found.update(self._beyond(home, kind, [self.inventory.outlines[number] for number in own]))
        if home == self._root and "AuthorizationPolicy" in kinds:
            found.update(self.inventory.of_kinds(*WORKLOAD_KINDS, "RequestAuthentication"))
        return found

    def _beyond(self, home: str, kind: str, items: list[Outline]) -> Iterable[int]:
        """What the checks of a namespace's documents of one kind look up outside of it."""
        match kind:
            case "VirtualService":
                return self._around_rules(home, items)
            case "DestinationRule":
                return self._around_destinations(items)
            case "ServiceEntry":
                return self._declaring(items)
            case "Gateway":
                return self._around_gateways(items)
            case "Deployment":
                controls = any(CONTROL_PLANE in item.facts.traits for item in items)
                return self.inventory.of_kinds("RequestAuthentication") if controls else ()
            case _ if kind in (API_GATEWAY, "ListenerSet", *ROUTE_KINDS):
                return self._around_routes(items)
            case _ if kind in WEBHOOKS or kind == "Sidecar":
                return self._led_to(home, items)
            case _:
                return self.inventory.of_kinds(*AMONG_THEMSELVES.get(kind, ()))

    def _around_rules(self, home: str, items: list[Outline]) -> set[int]:
        inventory, found = self.inventory, self._led_to(home, items)
        for item in items:
            delegates = (inventory.by_place.get(("VirtualService", *place)) for place in item.facts.refs)
            found.update(number for number in delegates if number is not None)
            for host in item.facts.hosts:
                found.update(inventory.by_declared_host.get(host, ()))
                found.update(inventory.by_routed_host.get(host, ()))
                found.update(self._directed.get(host, ()))
                if host.startswith("*"):
                    found.update(self._entries_overlapping(host))
        if any(ASKS_CLAIMS in item.facts.traits for item in items):
            for gateway in inventory.gateways.values():
                found.update(inventory.with_labels(gateway.selector))
            found.update(inventory.of_kinds("RequestAuthentication"))
        return found

    def _led_to(self, home: str, items: Iterable[Outline]) -> set[int]:
        """What is declared and ruled of the hosts that something leads to."""
        inventory, found = self.inventory, set[int]()
        for host in inventory.with_aliased(host for item in items for host in item.facts.leads):
            declared = inventory.by_declared_host.get(host, ())
            found.update(declared)
            found.update(inventory.by_ruled_host.get(host, ()))
            for owner in {inventory.outlines[number].namespace for number in declared}:
                found.update(self._patterns(owner))
            if not any(self._sees(home, inventory.outlines[number]) for number in declared):
                found.update(self._alike(host))
        return found

    def _around_destinations(self, items: list[Outline]) -> set[int]:
        found = self._declaring(items)
        for item in items:
            for host in item.facts.hosts:
                declared = self.inventory.by_declared_host.get(host, ())
                for owner in {self.inventory.outlines[number].namespace for number in declared}:
                    found.update(self.inventory.in_home(owner, *WORKLOAD_KINDS, "PeerAuthentication"))
                if host.startswith("*"):
                    found.update(self._covered_by(host))
                    if SETS_TLS in item.facts.traits:
                        found.update(self._servers_behind(host))
                elif not declared:
                    found.update(self._alike(host))
        return found

    def _declaring(self, items: list[Outline]) -> set[int]:
        declared = self.inventory.by_declared_host
        return {number for item in items for host in item.facts.hosts for number in declared.get(host, ())}

    def _around_gateways(self, items: list[Outline]) -> set[int]:
        found: set[int] = set()
        for item in items:
            found.update(self.inventory.with_labels(item.facts.labels))
        for owner in {self.inventory.outlines[number].namespace for number in found}:
            found.update(self.inventory.in_home(owner, "Service", "Secret"))
        return found

    def _around_routes(self, items: list[Outline]) -> set[int]:
        inventory, found = self.inventory, set(self.inventory.of_kinds(*API_KINDS))
        for host in {host for item in items for host in item.facts.leads}:
            found.update(inventory.by_declared_host.get(host, ()))
        for number in inventory.of_kinds(API_GATEWAY, "ListenerSet"):
            for place in inventory.outlines[number].facts.refs:
                held = (inventory.by_place.get((kind, *place)) for kind in ("Secret", "ConfigMap"))
                found.update(number for number in held if number is not None)
        return found

    @cached_property
    def _directed(self) -> dict[str, list[int]]:
        """The VirtualServices of gateways by the hosts that they lead to."""
        found: dict[str, list[int]] = {}
        for number in self.inventory.by_kind.get("VirtualService", ()):
            facts = self.inventory.outlines[number].facts
            for host in facts.leads if AT_GATEWAY in facts.traits else ():
                found.setdefault(host, []).append(number)
        return found

    def _patterns(self, home: str) -> list[int]:
        """A namespace's DestinationRules for patterns of hosts."""
        return [number for number in self.inventory.in_home(home, "DestinationRule") if self._is_pattern(number)]

    def _is_pattern(self, number: int, *traits: str) -> bool:
        """Whether a DestinationRule is for a pattern of hosts, and has these traits."""
        facts = self.inventory.outlines[number].facts
        return facts.hosts[0].startswith("*") and set(traits) <= set(facts.traits)

    def _entries_overlapping(self, pattern: str) -> list[int]:
        entries = self.inventory.by_kind.get("ServiceEntry", ())
        hosts = self.inventory.outlines
        return [number for number in entries if any(overlap(pattern, host) for host in hosts[number].facts.hosts)]

    def _covered_by(self, pattern: str) -> list[int]:
        """Who declares the first of the hosts that a pattern covers: whether there is one is all that is asked."""
        declared = self.inventory.by_declared_host
        first = min((host for host in declared if covers(pattern, host)), default=None)
        return [] if first is None else declared[first]

    def _servers_behind(self, pattern: str) -> Iterator[int]:
        """The Services that a pattern covers with their workloads and what these accept, where somebody has said so."""
        inventory = self.inventory
        asking = {inventory.outlines[number].namespace for number in inventory.by_kind.get("PeerAuthentication", ())}
        homes = inventory.by_home if self._root in asking else asking
        for home in homes:
            services = [
                n for n in inventory.in_home(home, "Service") if covers(pattern, inventory.outlines[n].facts.hosts[0])
            ]
            if services:
                yield from services
                yield from inventory.in_home(home, *WORKLOAD_KINDS, "PeerAuthentication")

    def _alike(self, host: str) -> list[int]:
        """What the namespace that an unknown host names declares: one of its hosts may have been meant."""
        stem = host.removesuffix(f".svc.{CLUSTER_DOMAIN}")
        return self.inventory.in_home(stem.partition(".")[2], *DECLARING) if stem != host else []

    def _sees(self, home: str, item: Outline) -> bool:
        return is_visible(item.facts.exports, item.namespace, home)
