"""The mesh: all resources indexed, so that a reference is one look-up. What a name means is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import msgspec

from compiler.dates import Dates
from compiler.hosts import full_host, is_visible
from compiler.resources.api_route import ROUTE_KINDS, ApiRoute, read_api_route
from compiler.resources.backend_tls import BackendTls
from compiler.resources.connection_policy import ConnectionPolicy
from compiler.resources.connection_route import ConnectionRoute
from compiler.resources.cursor import Labels
from compiler.resources.destination_rule import DestinationRule
from compiler.resources.endpoints import AddressGroup, ServiceEndpoints, WorkloadEntry
from compiler.resources.gateway import Gateway
from compiler.resources.gateway_api import (
    CONTROLLERS,
    ApiGateway,
    GatewayClass,
    ListenerSet,
    ObjectRef,
    ReferenceGrant,
)
from compiler.resources.http_route import HttpRoute
from compiler.resources.kubernetes import Namespace, Port, Secret, Service, ServiceAccount, Workload
from compiler.resources.load import Resources
from compiler.resources.mesh_config import CLUSTER_DOMAIN, MeshConfig
from compiler.resources.meta import GATEWAY_API, Meta
from compiler.resources.proxy_config import ProxyRule
from compiler.resources.rate_limit import Limits
from compiler.resources.security import AccessRule, PeerAuthentication
from compiler.resources.service_entry import ServiceEntry
from compiler.resources.sidecar import Sidecar
from compiler.resources.token_policy import TokenPolicy
from compiler.resources.virtual_service import VirtualService
from compiler.resources.written import WORKLOAD_KINDS, PodTemplate, Written, pod_template, written
from policies.limits import RateLimit
from policies.source import SourceRef


class MeshService(msgspec.Struct, frozen=True):
    """One host that requests can go to: a Service, or one host of a ServiceEntry. ``name`` is what metrics call it."""

    host: str
    name: str
    origin: Service | ServiceEntry

    @property
    def meta(self) -> Meta:
        """The declaring resource's metadata."""
        return self.origin.meta

    @property
    def namespace(self) -> str:
        """The declaring resource's namespace."""
        return self.origin.meta.namespace

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports, in the order written."""
        return self.origin.ports

    @property
    def selector(self) -> Labels:
        """The labels of its workloads; empty selects none."""
        return self.origin.selector

    def port(self, number: int) -> Port | None:
        """The port of a number, or None."""
        return next((port for port in self.origin.ports if port.number == number), None)

    def datagram_port(self, number: int) -> Port | None:
        """The UDP port of a number, or None; only Services of Kubernetes have such."""
        ports = self.origin.datagram_ports if isinstance(self.origin, Service) else ()
        return next((port for port in ports if port.number == number), None)


class Outside(msgspec.Struct, frozen=True):
    """What is known of a mesh of which only a part is looked at: the part that findings about ``home`` depend on.

    ``namespaces`` are those of the whole mesh with their labels, ``kinds`` what kinds of documents it has, and ``gateways`` which
    workloads are gateways.
    """

    home: str
    namespaces: dict[str, Labels]
    kinds: frozenset[str]
    gateways: frozenset[tuple[str, str]]


class Mesh:
    """All resources of a tree, indexed. Owns the indexes; never changed after construction.

    ``dates`` are only for checks that depend on the date (certificates near their end); None leaves those out. ``gateway_workloads`` are
    given where the resources are only a part of a mesh, whose gateways are not all among them, ``outside`` where findings about a part
    are asked for.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        dates: Dates | None = None,
        gateway_workloads: frozenset[tuple[str, str]] | None = None,
        outside: Outside | None = None,
    ) -> None:
        configs = resources.all(MeshConfig)
        self.config: MeshConfig = configs[0] if configs else MeshConfig()
        self.configs = configs
        own = {item.meta.name: item.meta.labels for item in resources.all(Namespace)}
        self.namespaces = own if outside is None else outside.namespaces
        """The namespaces by name, with their labels."""
        self.accounts = {(item.meta.namespace, item.meta.name) for item in resources.all(ServiceAccount)}
        self.secrets = {(item.meta.namespace, item.meta.name): item for item in resources.all(Secret)}
        self.workloads = resources.all(Workload)
        self.workload_entries = resources.all(WorkloadEntry)
        self.service_endpoints = resources.all(ServiceEndpoints)
        self.services = _services(resources)
        self.virtual_services = resources.all(VirtualService)
        self.destination_rules = resources.all(DestinationRule)
        self.gateways = {(item.meta.namespace, item.meta.name): item for item in resources.all(Gateway)}
        self.sidecars = resources.all(Sidecar)
        self.classes = {item.meta.name: item for item in resources.all(GatewayClass)}
        self.api_gateways = {(item.meta.namespace, item.meta.name): item for item in resources.all(ApiGateway)}
        self.http_routes = resources.all(HttpRoute)
        self.connection_routes = resources.all(ConnectionRoute)
        self.grants = resources.all(ReferenceGrant)
        self.listener_sets = resources.all(ListenerSet)
        self.backend_policies = resources.all(BackendTls)
        self.peer_authentications = resources.all(PeerAuthentication)
        self.access_rules = resources.all(AccessRule)
        self.token_policies = resources.all(TokenPolicy)
        self.rate_limits = resources.all(Limits)
        self.proxy_rules = resources.all(ProxyRule)
        self.connection_policies = resources.all(ConnectionPolicy)
        self.dates = dates
        self._documents = resources.documents
        self._written: dict[str, list[Written]] = {}
        self._outside = outside
        self._gateway_workloads = gateway_workloads if outside is None else outside.gateways

    def is_asked_about(self, meta: Meta) -> bool:
        """Whether findings about a resource are asked for; those about others come from their own namespace's part of the mesh."""
        return self._outside is None or meta.namespace == self._outside.home

    def has_any(self, *kinds: str) -> bool:
        """Whether the whole mesh has a document of one of these kinds."""
        known = self._documents.keys() if self._outside is None else self._outside.kinds
        return not known.isdisjoint(kinds)

    def gateways_asked_about(self) -> list[Gateway]:
        """The Istio Gateways that findings are asked about."""
        return [item for item in self.gateways.values() if self.is_asked_about(item.meta)]

    @cached_property
    def delegates(self) -> dict[tuple[str, str], VirtualService]:
        """The VirtualServices that have no hosts, to which others may leave their routes, by namespace and name."""
        return {(item.meta.namespace, item.meta.name): item for item in self.virtual_services if not item.hosts}

    @cached_property
    def listener_sets_by_place(self) -> dict[tuple[str, str], ListenerSet]:
        """The ListenerSets by namespace and name."""
        return {(item.meta.namespace, item.meta.name): item for item in self.listener_sets}

    @cached_property
    def api_routes(self) -> list[ApiRoute]:
        """The routes of all Gateway API kinds, kind by kind and in order within a kind."""
        return [read_api_route(item.meta, item.spec) for kind in ROUTE_KINDS for item in self.written(kind)]

    @cached_property
    def service_ports(self) -> dict[tuple[str, str], frozenset[tuple[int, str]]]:
        """Number and transport (TCP or UDP) of every port of each Service, by its namespace and name."""
        return {
            (item.namespace, item.meta.name): frozenset(
                [(port.number, "TCP") for port in item.ports]
                + [(port.number, "UDP") for port in item.origin.datagram_ports]
            )
            for item in self.services
            if isinstance(item.origin, Service)
        }

    @cached_property
    def authority_holders(self) -> dict[tuple[str, str, str], Written]:
        """The Secrets and ConfigMaps of the tree, by kind, namespace and name."""
        return {
            (kind, item.meta.namespace, item.meta.name): item
            for kind in ("Secret", "ConfigMap")
            for item in self.written(kind)
        }

    def written(self, kind: str) -> list[Written]:
        """The documents of a kind (as sources name it), in the order between resources; for fields that no resource holds."""
        if kind not in self._written:
            opened = [written(document) for document in self._documents.get(kind, ())]
            self._written[kind] = sorted(opened, key=lambda item: item.meta.order)
        return self._written[kind]

    @cached_property
    def pods(self) -> list[PodTemplate]:
        """Every Pod and every workload's pod template."""
        return [pod_template(item) for kind in WORKLOAD_KINDS for item in self.written(kind)]

    @cached_property
    def _pods_by_namespace(self) -> dict[str, list[PodTemplate]]:
        found: dict[str, list[PodTemplate]] = {}
        for pod in self.pods:
            found.setdefault(pod.meta.namespace, []).append(pod)
        return found

    def pods_in(self, namespace: str) -> list[PodTemplate]:
        """The pods of a namespace; those of all namespaces for the root namespace, whose policies hold for the whole mesh."""
        return self.pods if namespace == self.config.root_namespace else self._pods_by_namespace.get(namespace, [])

    @cached_property
    def source(self) -> SourceRef:
        """The source of what follows from the mesh's settings, or from their absence."""
        return self.config.meta.source if self.config.meta else SourceRef("MeshConfig", "", "default")

    @cached_property
    def by_host(self) -> dict[str, list[MeshService]]:
        """Services by host; several where ServiceEntries of different namespaces declare the same."""
        found: dict[str, list[MeshService]] = {}
        for service in self.services:
            found.setdefault(service.host, []).append(service)
        return found

    def service(self, host: str, namespace: str) -> MeshService | None:
        """The service of a full host as seen from a namespace: its own declaration first, then the oldest that is exported to it."""
        return next(iter(self.declarations(host, namespace)), None)

    def declarations(self, host: str, namespace: str) -> list[MeshService]:
        """The declarations of a full host that a namespace can see, its own first, the others in order."""
        seen = [
            service
            for service in self.by_host.get(host, ())
            if is_visible(service.origin.export_to, service.namespace, namespace)
        ]
        return sorted(seen, key=lambda service: service.namespace != namespace)

    @cached_property
    def _sidecars_by_namespace(self) -> dict[str, list[Sidecar]]:
        found: dict[str, list[Sidecar]] = {}
        for sidecar in self.sidecars:
            found.setdefault(sidecar.meta.namespace, []).append(sidecar)
        return found

    def sidecars_in(self, namespace: str) -> list[Sidecar]:
        """The Sidecars of a namespace, in order."""
        return self._sidecars_by_namespace.get(namespace, [])

    @cached_property
    def _services_by_namespace(self) -> dict[str, list[MeshService]]:
        found: dict[str, list[MeshService]] = {}
        for service in self.services:
            found.setdefault(service.namespace, []).append(service)
        return found

    def services_in(self, namespace: str) -> list[MeshService]:
        """The services that a namespace declares, in order."""
        return self._services_by_namespace.get(namespace, [])

    @cached_property
    def _hosts_by_scope(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for service in self.services:
            for scope in service.origin.export_to:
                found.setdefault(service.namespace if scope == "." else scope, set()).add(service.host)
        return found

    def hosts_seen_from(self, namespace: str) -> list[str]:
        """The hosts that are exported to a namespace, sorted. Costs what is seen, not what there is."""
        return sorted(self._hosts_by_scope.get("*", set()) | self._hosts_by_scope.get(namespace, set()))

    def kubernetes_service(self, namespace: str, name: str) -> MeshService | None:
        """A Service by namespace and name, whatever it is exported to."""
        declared = self.by_host.get(full_host(name, namespace), ())
        return next((service for service in declared if isinstance(service.origin, Service)), None)

    @cached_property
    def _workloads_by_label(self) -> dict[tuple[str, str, str], list[Workload]]:
        found: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in self.workloads:
            for key, value in workload.labels:
                found.setdefault((workload.meta.namespace, key, value), []).append(workload)
        return found

    @cached_property
    def _first_kinds(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for workload in self.workloads:
            place = (workload.meta.namespace, workload.meta.name)
            found[place] = min(found.get(place, workload.meta.id.kind), workload.meta.id.kind)
        return found

    def workload_name(self, workload: Workload) -> str:
        """A workload's name, unique in its namespace: of kinds that share a name all but the first of the alphabet bear theirs (``a~job``)."""
        kind = workload.meta.id.kind
        first = self._first_kinds[workload.meta.namespace, workload.meta.name]
        return workload.meta.name if kind == first else f"{workload.meta.name}~{kind.lower()}"

    def selected(self, namespace: str, selector: Labels) -> list[Workload]:
        """The workloads of a namespace whose labels include the selector; an empty selector selects none."""
        if not selector:
            return []
        labelled = (self._workloads_by_label.get((namespace, key, value), []) for key, value in selector)
        candidates, wanted = min(labelled, key=len), set(selector)
        return [workload for workload in candidates if len(wanted) == 1 or wanted <= set(workload.labels)]

    def selected_entries(self, namespace: str, selector: Labels) -> list[WorkloadEntry]:
        """The workload entries of a namespace whose labels include the selector; an empty selector selects none."""
        wanted = set(selector)
        return [
            entry
            for entry in self.workload_entries
            if wanted and entry.meta.namespace == namespace and wanted <= set(entry.endpoint.labels)
        ]

    @cached_property
    def endpoint_groups(self) -> dict[tuple[str, str], list[AddressGroup]]:
        """What EndpointSlices and Endpoints in Git say of each service, by its namespace and name."""
        found: dict[tuple[str, str], list[AddressGroup]] = {}
        for endpoints in self.service_endpoints:
            found.setdefault((endpoints.meta.namespace, endpoints.service), []).extend(endpoints.groups)
        return found

    @cached_property
    def workload_at(self) -> dict[str, Workload]:
        """The pods whose address Git knows, by that address."""
        return {workload.address: workload for workload in self.workloads if workload.address}

    def gateway_selected(self, gateway: Gateway) -> list[Workload]:
        """The workloads of all namespaces whose labels include an Istio Gateway's selector; an empty selector selects none."""
        wanted = set(gateway.selector)
        return [workload for workload in self.workloads if wanted <= set(workload.labels)] if wanted else []

    @cached_property
    def gateway_workloads(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of every workload that is a gateway and hence no sidecar's."""
        if self._gateway_workloads is not None:
            return self._gateway_workloads
        return frozenset(
            (workload.meta.namespace, workload.meta.name)
            for gateway in self.gateways.values()
            for workload in self.gateway_selected(gateway)
        )

    @cached_property
    def limits_by_target(self) -> dict[tuple[str, str, str], list[tuple[str, RateLimit]]]:
        """Rate limits by the kind, namespace and name of what they target, each with the part that it is for ("" for all of it)."""
        found: dict[tuple[str, str, str], list[tuple[str, RateLimit]]] = {}
        for item in self.rate_limits:
            for target in item.targets:
                place = (target.kind, item.meta.namespace, target.name.value)
                found.setdefault(place, []).extend((target.section, limit) for limit in item.limits)
        return found

    def identity(self, namespace: str, account: str) -> str:
        """The SPIFFE ID of a service account (Istio's form)."""
        return f"spiffe://{self.config.trust_domain}/ns/{namespace}/sa/{account}"

    def gateway(self, name: str, namespace: str) -> Gateway | None:
        """An Istio Gateway by ``name`` (of the referring namespace) or ``namespace/name``."""
        owner, slash, own = name.rpartition("/")
        return self.gateways.get((owner if slash else namespace, own))

    def serves(self, gateway: ApiGateway) -> bool:
        """Whether a Gateway API Gateway is weft's: its class names one of our controllers, or stands outside of Git."""
        known = self.classes.get(gateway.class_name)
        return known is None or known.controller in CONTROLLERS

    def granted(self, kind: str, namespace: str, target: ObjectRef) -> bool:
        """Whether a Gateway API object of a kind and namespace may refer to ``target``: same namespace, or a ReferenceGrant."""
        if target.namespace == namespace:
            return True
        origin = (GATEWAY_API, kind, namespace)
        return any(
            grant.meta.namespace == target.namespace
            and origin in grant.origins
            and any(
                group == target.group and target_kind == target.kind and name in ("", target.name)
                for group, target_kind, name in grant.targets
            )
            for grant in self.grants
        )


def _services(resources: Resources) -> list[MeshService]:
    found = [
        MeshService(full_host(service.meta.name, service.meta.namespace), service.meta.name, service)
        for service in resources.all(Service)
    ]
    found.extend(_entry_hosts(resources.all(ServiceEntry)))
    return found


def _entry_hosts(entries: Iterable[ServiceEntry]) -> list[MeshService]:
    return [
        MeshService(host.value.lower(), _short(host.value.lower()), entry) for entry in entries for host in entry.hosts
    ]


def _short(host: str) -> str:
    return host.partition(".")[0] if host.endswith(f".svc.{CLUSTER_DOMAIN}") else host
