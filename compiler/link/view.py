"""The mesh as the proxies of one namespace see it: which services exist for them, which rules hold, which clusters follow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from compiler.delegates import undelegated
from compiler.hosts import covers, full_host, is_visible, specificity
from compiler.link.clusters import PASSTHROUGH, build_cluster, limited, of_datagrams
from compiler.link.reach import Reach
from compiler.mesh import Mesh, MeshService
from compiler.resources.cursor import Labels
from compiler.resources.destination_rule import DestinationRule, Subset, TrafficPolicy
from compiler.resources.kubernetes import Port, Service
from compiler.resources.protocol import UDP
from compiler.resources.virtual_service import Target, VirtualService
from policies.source import SourceRef
from snapshot.section import Cluster, StaticEndpoints


class EffectiveRule(msgspec.Struct, frozen=True):
    """The DestinationRules that hold for one host, merged: the first policy, all subsets (of one name the first).

    Where one of them ``fails``, the host has no endpoints.
    """

    policy: TrafficPolicy | None
    subsets: dict[str, Subset]
    sources: tuple[SourceRef, ...]
    fails: bool = False


Selectors = frozenset[Labels]


class View:
    """One namespace's view, or what a Sidecar leaves of it, or what its gateways see. Owns the clusters that were asked for, by name.

    ``held`` are the selectors of DestinationRules that its proxies satisfy (``held_selectors``).
    """

    def __init__(
        self,
        mesh: Mesh,
        namespace: str,
        reach: Reach | None = None,
        *,
        gateway: bool = False,
        held: Selectors = frozenset(),
    ) -> None:
        self.mesh = mesh
        self._held = held
        self._gateway = gateway
        self.namespace = namespace
        self.reach = reach
        self.clusters: dict[str, Cluster] = {PASSTHROUGH.name: limited(mesh, PASSTHROUGH)}
        self._rules: dict[str, EffectiveRule] = {}

    @cached_property
    def services(self) -> dict[str, MeshService]:
        """Every visible service by host, sorted by host: all that a rule may lead to, known to clients or not."""
        found = {host: aliased(service, self._visible) for host, service in self._visible.items()}
        return found if self.reach is None else {**found, **self.known_services}

    @cached_property
    def _visible(self) -> dict[str, MeshService]:
        """Every visible service by host, aliases as they are declared."""
        seen = ((host, self.mesh.service(host, self.namespace)) for host in self.mesh.hosts_seen_from(self.namespace))
        return {host: service for host, service in seen if service is not None}

    @cached_property
    def known_services(self) -> dict[str, MeshService]:
        """The services that clients can call, by the hosts that they call them by, sorted: the visible ones that a Sidecar does not keep out.

        The host is another than the service's where it is an alias (a Service of type ExternalName).
        """
        if self.reach is None:
            return self.services
        found: dict[str, MeshService] = {}
        for host in self.mesh.hosts_seen_from(self.namespace):
            for service in self.mesh.declarations(host, self.namespace):
                if self.reach.admits(service.namespace, host):
                    found[host] = service
                    break
        return {host: aliased(service, self._visible) for host, service in found.items()}

    @cached_property
    def virtual_services(self) -> list[VirtualService]:
        """The visible VirtualServices, in order, without those that a Sidecar keeps out, with the rules of their delegates."""
        return [
            undelegated(item, self.mesh.delegates)
            for item in self.mesh.virtual_services
            if is_visible(item.export_to, item.meta.namespace, self.namespace)
            and (self.reach is None or self.reach.imports(item.meta.namespace, full_hosts(item)))
        ]

    def rule(self, service: MeshService) -> EffectiveRule:
        """What DestinationRules say of a service: the client's namespace before the service's before the root namespace."""
        found = self._rules.get(service.host)
        if found is None:
            found = self._rules[service.host] = self._find_rule(service)
        return found

    def _find_rule(self, service: MeshService) -> EffectiveRule:
        for namespace in dict.fromkeys((self.namespace, service.namespace, self.mesh.config.root_namespace)):
            by_host = self._rules_by_namespace.get(namespace, {})
            wildcards = (host for host in by_host if host.startswith("*") and covers(host, service.host))
            best = service.host if service.host in by_host else min(wildcards, key=specificity, default=None)
            if best is not None:
                return _merged(_foremost(by_host[best]))
        return EffectiveRule(None, {}, ())

    @cached_property
    def _rules_by_namespace(self) -> dict[str, dict[str, list[DestinationRule]]]:
        """The visible rules by their namespace and completed host, in order."""
        found: dict[str, dict[str, list[DestinationRule]]] = {}
        for rule in self.mesh.destination_rules:
            namespace = rule.meta.namespace
            if is_visible(rule.export_to, namespace, self.namespace) and self._obeys(rule):
                host = full_host(rule.host.value, namespace)
                found.setdefault(namespace, {}).setdefault(host, []).append(rule)
        return found

    def _obeys(self, rule: DestinationRule) -> bool:
        return rule.selector is None or (rule.meta.namespace == self.namespace and rule.selector in self._held)

    def cluster(self, service: MeshService, port: Port, subset: str = "") -> Cluster | None:
        """The cluster of a service's port and subset; None where no rule defines the subset."""
        # A Service may have one number for bytes and for datagrams.
        number = f"{port.number}/udp" if port.transport == UDP else str(port.number)
        name = f"outbound|{number}|{subset}|{service.host}"
        known = self.clusters.get(name)
        if known is not None:
            return known
        rule = self.rule(service)
        chosen = rule.subsets.get(subset) if subset else None
        if subset and chosen is None:
            return None
        policy = rule.policy
        if chosen is not None and chosen.policy is not None:
            policy = chosen.policy.over(policy)
        effective = (policy or TrafficPolicy()).at_port(port.number).over(self.mesh.config.baseline)
        cluster = build_cluster(
            self.mesh, self.namespace, name, service, port, chosen, effective, rule.sources, gateway=self._gateway
        )
        if port.transport == UDP:
            cluster = of_datagrams(cluster)
        if rule.fails:
            cluster = msgspec.structs.replace(cluster, endpoints=StaticEndpoints(()))
        self.clusters[name] = cluster
        return cluster

    def resolve(self, target: Target, namespace: str, listener_port: int) -> Cluster | None:
        """The cluster of a destination written in ``namespace``; None where its host, port or subset does not exist.

        An omitted port is the service's only one, or else the listener's (Istio).
        """
        service = self.services.get(full_host(target.host.value, namespace))
        if service is None:
            return None
        alone = not target.port and len(service.ports) == 1
        port = service.ports[0] if alone else service.port(target.port or listener_port)
        return self.cluster(service, port, target.subset.value if target.subset else "") if port else None


def aliased(service: MeshService, seen: Mapping[str, MeshService]) -> MeshService:
    """The service that an ExternalName stands for, where the mesh has one by that name: its ports, rules and clusters are the alias's (Istio)."""
    passed: set[str] = set()
    while isinstance(service.origin, Service) and service.origin.external_name in seen:
        if service.host in passed:
            break
        passed.add(service.host)
        service = seen[service.origin.external_name]
    return service


def full_hosts(service: VirtualService) -> list[str]:
    """A VirtualService's hosts, completed."""
    return [full_host(host.value, service.meta.namespace) for host in service.hosts]


def held_selectors(mesh: Mesh, namespace: str, labels: Labels) -> Selectors:
    """The selectors of a namespace's DestinationRules that a proxy with these labels satisfies."""
    selectors = {rule.selector for rule in mesh.destination_rules if rule.meta.namespace == namespace}
    return frozenset(one for one in selectors if one is not None and set(one) <= set(labels))


def _foremost(rules: list[DestinationRule]) -> list[DestinationRule]:
    """Of rules for one host those that name the client, by the first's selector; rules for all where none does (Istio)."""
    selector = next((rule.selector for rule in rules if rule.selector is not None), None)
    return [rule for rule in rules if rule.selector == selector]


def _merged(rules: list[DestinationRule]) -> EffectiveRule:
    subsets: dict[str, Subset] = {}
    for rule in rules:
        for subset in rule.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((rule.policy for rule in rules if rule.policy is not None), None)
    fails = any(rule.fails for rule in rules)
    return EffectiveRule(policy, subsets, tuple(rule.meta.source for rule in rules), fails)


class Views:
    """One View per namespace, made when it is first asked for. Owns them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._views: dict[str, View] = {}

    def of(self, namespace: str) -> View:
        """The view of a namespace."""
        if namespace not in self._views:
            self._views[namespace] = View(self.mesh, namespace)
        return self._views[namespace]
