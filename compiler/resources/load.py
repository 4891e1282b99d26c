"""Documents to resources: one reader per kind, competitors in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from compiler.node import Document
from compiler.resources.backend_tls import BackendTls, read_backend_tls
from compiler.resources.connection_policy import ConnectionPolicy, read_connection_policy
from compiler.resources.connection_route import ConnectionRoute, read_connection_route
from compiler.resources.cursor import Positions
from compiler.resources.destination_rule import DestinationRule, read_destination_rule
from compiler.resources.endpoints import (
    ServiceEndpoints,
    WorkloadEntry,
    read_endpoint_slice,
    read_endpoints,
    read_workload_entry,
)
from compiler.resources.gateway import Gateway, read_gateway
from compiler.resources.gateway_api import (
    ApiGateway,
    GatewayClass,
    ListenerSet,
    ReferenceGrant,
    read_api_gateway,
    read_gateway_class,
    read_listener_set,
    read_reference_grant,
)
from compiler.resources.grpc_route import read_grpc_route
from compiler.resources.http_route import HttpRoute, read_http_route
from compiler.resources.kubernetes import (
    Namespace,
    Secret,
    Service,
    ServiceAccount,
    Workload,
    read_cron_job,
    read_namespace,
    read_pod,
    read_replicated,
    read_secret,
    read_service,
    read_service_account,
)
from compiler.resources.mesh_config import MeshConfig, read_mesh_config
from compiler.resources.meta import GATEWAY_API, kind_of
from compiler.resources.proxy_config import ProxyRule, read_proxy_config
from compiler.resources.rate_limit import Limits, read_rate_limit
from compiler.resources.security import (
    AccessRule,
    PeerAuthentication,
    read_authorization_policy,
    read_peer_authentication,
)
from compiler.resources.service_entry import ServiceEntry, read_service_entry
from compiler.resources.sidecar import Sidecar, read_sidecar
from compiler.resources.token_policy import TokenPolicy, read_request_authentication
from compiler.resources.virtual_service import VirtualService, read_virtual_service
from compiler.resources.workload_group import read_workload_group
from snapshot.encode import encode

Resource: TypeAlias = (
    Namespace
    | ServiceAccount
    | Secret
    | Service
    | Workload
    | ServiceEntry
    | ServiceEndpoints
    | WorkloadEntry
    | VirtualService
    | DestinationRule
    | Gateway
    | Sidecar
    | GatewayClass
    | ApiGateway
    | ListenerSet
    | HttpRoute
    | ConnectionRoute
    | ReferenceGrant
    | BackendTls
    | PeerAuthentication
    | AccessRule
    | TokenPolicy
    | Limits
    | MeshConfig
    | ProxyRule
    | ConnectionPolicy
)
R = TypeVar("R", bound=Resource)

READERS: dict[str, Callable[[Document, Positions], Resource]] = {
    "Namespace": read_namespace,
    "ServiceAccount": read_service_account,
    "Secret": read_secret,
    "Service": read_service,
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "Job"), read_replicated),
    "CronJob": read_cron_job,
    "Pod": read_pod,
    "ServiceEntry": read_service_entry,
    "Endpoints": read_endpoints,
    "EndpointSlice": read_endpoint_slice,
    "WorkloadEntry": read_workload_entry,
    "WorkloadGroup": read_workload_group,
    "VirtualService": read_virtual_service,
    "DestinationRule": read_destination_rule,
    "Gateway": read_gateway,
    "Sidecar": read_sidecar,
    "GatewayClass": read_gateway_class,
    f"Gateway.{GATEWAY_API}": read_api_gateway,
    "ListenerSet": read_listener_set,
    "HTTPRoute": read_http_route,
    "GRPCRoute": read_grpc_route,
    **dict.fromkeys(("TLSRoute", "TCPRoute", "UDPRoute"), read_connection_route),
    "ReferenceGrant": read_reference_grant,
    "BackendTLSPolicy": read_backend_tls,
    "PeerAuthentication": read_peer_authentication,
    "AuthorizationPolicy": read_authorization_policy,
    "RequestAuthentication": read_request_authentication,
    "RateLimit": read_rate_limit,
    "MeshConfig": read_mesh_config,
    "ProxyConfig": read_proxy_config,
    "ConnectionPolicy": read_connection_policy,
}
"""Kind, as sources name it, to its reader."""


class Resources:
    """All resources of a tree, or of a part of one. Owns the lists per kind, in the order between competitors.

    ``documents`` are what the resources were read from, and the documents of kinds that have no resource, by kind as sources name it.
    """

    def __init__(self, resources: Iterable[Resource], documents: Iterable[Document] = ()) -> None:
        self.documents: dict[str, list[Document]] = {}
        for document in documents:
            self.documents.setdefault(kind_of(document), []).append(document)
        self._by_type: dict[type, list[Resource]] = {}
        for resource in resources:
            self._by_type.setdefault(type(resource), []).append(resource)
        for found in self._by_type.values():
            found.sort(key=lambda resource: resource.meta.order if resource.meta else ())

    def all(self, kind: type[R]) -> list[R]:
        """All resources of one type, in order: priority, age, namespace, name."""
        return self._by_type.get(kind, [])  # type: ignore[return-value]


class Read(NamedTuple):
    """A resource, the positions of its named parts, and a digest of both."""

    resource: Resource
    positions: Positions
    digest: bytes


def read_document(document: Document, *, fails: bool = False) -> Read | None:
    """The resource of a schema-valid document, None for kinds that are none. It depends on the document alone.

    ``fails`` marks the resource of a stand-in whose kind cannot say by itself that everything is to fail.
    """
    kind = kind_of(document)
    reader = READERS.get(kind)
    if reader is None:
        return None
    positions: Positions = {}
    resource = reader(document, positions)
    if fails and isinstance(resource, DestinationRule | Gateway | Service | Workload):
        resource = msgspec.structs.replace(resource, fails=True)
    whole = hashlib.sha256(encode([kind, resource, list(positions.items())]))
    return Read(resource, positions, whole.digest())
