"""What the slices of one namespace can depend on: a scope is the mesh without everything else.

Slices are linked from a scope and from nothing else, so whatever they turn out to be follows from the resources in it, in their order.
Their digest is the scope's fingerprint: a namespace whose fingerprint is known need not be linked again, and no list of what link happens to
read has to be kept right by hand. A resource that is left out here by mistake is missing from every compilation, the first one too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Generic, TypeVar

from compiler.diagnostic import ResourceId
from compiler.gateways import GatewayProxy, gateway_proxies
from compiler.hosts import is_visible
from compiler.mesh import Mesh
from compiler.resources.connection_route import ConnectionRoute
from compiler.resources.destination_rule import DestinationRule
from compiler.resources.http_route import HttpRoute, RouteRule
from compiler.resources.kubernetes import Service
from compiler.resources.load import Resource, Resources
from compiler.resources.service_entry import ServiceEntry
from compiler.resources.virtual_service import VirtualService
from snapshot.encode import encode

_R = TypeVar("_R", bound=Resource)
_E = TypeVar("_E", Service, ServiceEntry, VirtualService, Service | ServiceEntry)


class Scope:
    """One namespace's scope. Owns nothing: the resources are the whole mesh's. ``proxies`` are the Istio gateways that stand in it."""

    def __init__(
        self,
        namespace: str,
        resources: list[Resource],
        proxies: list[GatewayProxy],
        gateway_workloads: frozenset[tuple[str, str]],
        digests: Mapping[ResourceId, bytes],
    ) -> None:
        self.namespace = namespace
        self.proxies = proxies
        self._resources = resources
        self._gateway_workloads = gateway_workloads
        self._digests = digests

    def mesh(self) -> Mesh:
        """The mesh of these resources alone."""
        return Mesh(Resources(self._resources, {}), gateway_workloads=self._gateway_workloads)

    @cached_property
    def fingerprint(self) -> bytes:
        """A digest of everything that is in the scope. Equal fingerprints have equal slices, positions included."""
        whole, digests = hashlib.sha256(encode([self.namespace, sorted(self._gateway_workloads)])), self._digests
        for resource in self._resources:
            assert resource.meta is not None, "only settings that nobody wrote have no name, and they are in no scope"
            whole.update(digests[resource.meta.id])
        for proxy in self.proxies:
            whole.update(encode([proxy.name, proxy.account, len(proxy.gateways)]))
            whole.update(digests[proxy.workload.meta.id] if proxy.workload else b"none")
            for gateway in proxy.gateways:
                whole.update(digests[gateway.meta.id])
        return whole.digest()


class Scopes:
    """The scopes of a mesh. Owns its resources by namespace, so that a scope costs what is in it."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._proxies: dict[str, list[GatewayProxy]] = {}
        for proxy in gateway_proxies(mesh):
            self._proxies.setdefault(proxy.namespace, []).append(proxy)
        self._services = _Services(mesh)
        self._virtual_services = _Exported(mesh.virtual_services)
        self._workloads = _by_namespace(mesh.workloads)
        self._entries = _by_namespace(mesh.workload_entries)
        self._endpoints = _by_namespace(mesh.service_endpoints)
        self._authentications = _by_namespace(mesh.peer_authentications)
        self._access = _by_namespace(mesh.access_rules)
        self._sidecars = _by_namespace(mesh.sidecars)
        self._destination_rules = _by_namespace(mesh.destination_rules)
        self._api_gateways = _by_namespace(mesh.api_gateways.values())
        # An EndpointSlice may list a pod of any namespace.
        self._addressed = [item for item in mesh.workloads if item.address]

    def all(self) -> Iterator[Scope]:
        """A scope for each namespace that has a proxy."""
        namespaces = {*self._workloads, *self._proxies, *self._api_gateways}
        for namespace in sorted(namespaces):
            yield self._scope(namespace)

    def _scope(self, namespace: str) -> Scope:
        mesh = self._mesh
        services = self._services.seen_from(namespace)
        around = dict.fromkeys((namespace, *(service.meta.namespace for service in services)))
        routes: list[HttpRoute | ConnectionRoute] = []
        routes += [route for route in mesh.http_routes if _concerns(route, namespace, around)]
        routes += [route for route in mesh.connection_routes if _concerns(route, namespace, around)]
        services += self._services.behind(routes, services)
        around |= dict.fromkeys(service.meta.namespace for service in services)
        workloads = [
            *_among(self._workloads, around),
            *(item for item in self._addressed if item.meta.namespace not in around),
        ]
        found: list[Resource] = [mesh.config] if mesh.config.meta else []
        found += [*services, *workloads, *self._rules_over(namespace, around), *routes]
        if routes or namespace in self._api_gateways:
            found += mesh.grants
        if namespace in self._api_gateways:
            found += [*self._api_gateways[namespace], *mesh.classes.values(), *mesh.namespaces.values()]
            found += self._certificates(namespace)
        places = {(item.meta.namespace, item.meta.name) for item in workloads} if mesh.gateway_workloads else set()
        gateways = mesh.gateway_workloads & places
        return Scope(namespace, found, self._proxies.get(namespace, []), gateways, mesh.digests)

    def _certificates(self, namespace: str) -> list[Resource]:
        """The Secrets in the tree that Gateways of a namespace name."""
        listeners = [listener for gateway in self._api_gateways[namespace] for listener in gateway.listeners]
        places = dict.fromkeys((ref.namespace, ref.name) for item in listeners for ref in item.certificates)
        return [self._mesh.secrets[place] for place in places if place in self._mesh.secrets]

    def _rules_over(self, namespace: str, around: Iterable[str]) -> list[Resource]:
        """What else holds for a namespace that sees services of the namespaces around."""
        mesh = self._mesh
        root = mesh.config.root_namespace
        ruling = dict.fromkeys((*around, root))
        found: list[Resource] = []
        found += _among(self._entries, around)
        found += _among(self._endpoints, around)
        found += self._virtual_services.seen_from(namespace)
        found += _among(self._sidecars, dict.fromkeys((namespace, root)))
        found += [item for item in _among(self._destination_rules, ruling) if _reaches(item, namespace)]
        found += _among(self._authentications, ruling)
        found += _among(self._access, dict.fromkeys((namespace, root)))
        return found


class _Exported(Generic[_E]):
    """Resources by the namespaces that they are exported to. Owns the lists."""

    def __init__(self, items: Iterable[_E]) -> None:
        self._seen: dict[str, dict[int, _E]] = {}
        for place, item in enumerate(items):
            for scope in item.export_to:
                self._seen.setdefault(item.meta.namespace if scope == "." else scope, {})[place] = item

    def seen_from(self, namespace: str) -> list[_E]:
        """What is exported to a namespace, in order. Costs what is seen, not what there is."""
        found = self._seen.get("*", {}) | self._seen.get(namespace, {})
        return [found[place] for place in sorted(found)]


class _Services:
    """Services and ServiceEntries by who sees them. Owns the lists."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        origins = {service.meta.id: service.origin for service in mesh.services}
        self._exported = _Exported(origins.values())
        self._own = _by_namespace(origins.values())

    def seen_from(self, namespace: str) -> list[Service | ServiceEntry]:
        """What is exported to a namespace, and what it declares, whoever sees that."""
        seen = {item.meta.id: item for item in self._exported.seen_from(namespace)}
        hidden = [item for item in self._own.get(namespace, ()) if item.meta.id not in seen]
        return [*seen.values(), *hidden]

    def behind(
        self, routes: Iterable[HttpRoute | ConnectionRoute], known: Iterable[Service | ServiceEntry]
    ) -> list[Service | ServiceEntry]:
        """The Services that are backends of these routes, seen or not, without the known ones."""
        had = {item.meta.id for item in known}
        found: dict[ResourceId, Service | ServiceEntry] = {}
        for route in routes:
            for rule in route.rules:
                mirrors = rule.filters.mirrors if isinstance(rule, RouteRule) else ()
                for target in (*(item.target for item in rule.backends), *(item.target for item in mirrors)):
                    service = self._mesh.kubernetes_service(target.namespace, target.name)
                    if service is not None and service.meta.id not in had:
                        found[service.meta.id] = service.origin
        return list(found.values())


def _concerns(route: HttpRoute | ConnectionRoute, namespace: str, around: Container[str]) -> bool:
    """Whether a route is for a Gateway of the namespace, or for a Service of those around it."""
    return any(
        parent.target.namespace == namespace if parent.target.kind == "Gateway" else parent.target.namespace in around
        for parent in route.parents
    )


def _reaches(item: DestinationRule, namespace: str) -> bool:
    return is_visible(item.export_to, item.meta.namespace, namespace)


def _by_namespace(items: Iterable[_R]) -> dict[str, list[_R]]:
    found: dict[str, list[_R]] = {}
    for item in items:
        assert item.meta is not None
        found.setdefault(item.meta.namespace, []).append(item)
    return found


def _among(found: Mapping[str, Sequence[_R]], namespaces: Iterable[str]) -> list[_R]:
    return [item for namespace in namespaces for item in found.get(namespace, ())]
