"""The kinds that weft reads: one literal table, from which versions, schemas and scope follow.

A schema belongs to a kind, not to a version: the versions that one API serves have the same fields, so they share a file (Istio's v1,
v1beta1 and v1alpha3; Gateway API's v1 and v1beta1). Where a version is narrower, the schema has a condition on apiVersion.
"""

from __future__ import annotations

import difflib

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """One kind of one API group. ``group`` is "" for Kubernetes' core; ``versions`` are newest first; ``schema`` is a file in compiler/schema.

    ``named`` says whether a document must have metadata.name.
    """

    group: str
    name: str
    versions: tuple[str, ...]
    schema: str
    cluster_scoped: bool = False
    named: bool = True

    @property
    def api_versions(self) -> tuple[str, ...]:
        """What documents of this kind may write as apiVersion."""
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)


_ISTIO = ("v1", "v1beta1", "v1alpha3")
_SECURITY = ("v1", "v1beta1")
_GATEWAY_API = ("v1", "v1beta1")
_CONNECTION_ROUTE = ("v1", "v1alpha2")
_ADMISSION = "admissionregistration.k8s.io"

KINDS: tuple[Kind, ...] = (
    Kind("", "Namespace", ("v1",), "namespace.json", cluster_scoped=True),
    Kind("", "Service", ("v1",), "service.json"),
    Kind("", "ServiceAccount", ("v1",), "service_account.json"),
    Kind("", "Pod", ("v1",), "pod.json"),
    Kind("", "Secret", ("v1",), "secret.json"),
    Kind("", "ConfigMap", ("v1",), "config_map.json"),
    Kind("", "Endpoints", ("v1",), "endpoints.json"),
    Kind("discovery.k8s.io", "EndpointSlice", ("v1",), "endpoint_slice.json"),
    Kind("apps", "Deployment", ("v1",), "deployment.json"),
    Kind("apps", "StatefulSet", ("v1",), "stateful_set.json"),
    Kind("apps", "DaemonSet", ("v1",), "daemon_set.json"),
    Kind("batch", "Job", ("v1",), "job.json"),
    Kind("batch", "CronJob", ("v1",), "cron_job.json"),
    Kind("networking.k8s.io", "Ingress", ("v1",), "ingress.json"),
    Kind("networking.k8s.io", "IngressClass", ("v1",), "ingress_class.json", cluster_scoped=True),
    Kind(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        ("v1",),
        "custom_resource_definition.json",
        cluster_scoped=True,
    ),
    Kind(
        _ADMISSION, "MutatingWebhookConfiguration", ("v1",), "mutating_webhook_configuration.json", cluster_scoped=True
    ),
    Kind(
        _ADMISSION,
        "ValidatingWebhookConfiguration",
        ("v1",),
        "validating_webhook_configuration.json",
        cluster_scoped=True,
    ),
    Kind("networking.istio.io", "VirtualService", _ISTIO, "virtual_service.json"),
    Kind("networking.istio.io", "DestinationRule", _ISTIO, "destination_rule.json"),
    Kind("networking.istio.io", "Gateway", _ISTIO, "istio_gateway.json"),
    Kind("networking.istio.io", "ServiceEntry", _ISTIO, "service_entry.json"),
    Kind("networking.istio.io", "Sidecar", _ISTIO, "sidecar.json"),
    Kind("networking.istio.io", "WorkloadEntry", _ISTIO, "workload_entry.json"),
    Kind("networking.istio.io", "WorkloadGroup", _ISTIO, "workload_group.json"),
    Kind("networking.istio.io", "ProxyConfig", ("v1beta1",), "proxy_config.json"),
    Kind("networking.istio.io", "EnvoyFilter", ("v1alpha3",), "envoy_filter.json"),
    Kind("telemetry.istio.io", "Telemetry", ("v1", "v1alpha1"), "telemetry.json"),
    Kind("extensions.istio.io", "WasmPlugin", ("v1alpha1",), "wasm_plugin.json"),
    Kind("extensions.istio.io", "TrafficExtension", ("v1alpha1",), "traffic_extension.json"),
    Kind("security.istio.io", "RequestAuthentication", _SECURITY, "request_authentication.json"),
    Kind("security.istio.io", "PeerAuthentication", _SECURITY, "peer_authentication.json"),
    Kind("security.istio.io", "AuthorizationPolicy", _SECURITY, "authorization_policy.json"),
    Kind("gateway.networking.k8s.io", "GatewayClass", _GATEWAY_API, "gateway_class.json", cluster_scoped=True),
    Kind("gateway.networking.k8s.io", "Gateway", _GATEWAY_API, "gateway.json"),
    Kind("gateway.networking.k8s.io", "HTTPRoute", _GATEWAY_API, "http_route.json"),
    Kind("gateway.networking.k8s.io", "GRPCRoute", ("v1",), "grpc_route.json"),
    Kind("gateway.networking.k8s.io", "TLSRoute", ("v1", "v1alpha3", "v1alpha2"), "tls_route.json"),
    Kind("gateway.networking.k8s.io", "TCPRoute", _CONNECTION_ROUTE, "tcp_route.json"),
    Kind("gateway.networking.k8s.io", "UDPRoute", _CONNECTION_ROUTE, "udp_route.json"),
    Kind("gateway.networking.k8s.io", "ListenerSet", ("v1",), "listener_set.json"),
    Kind("gateway.networking.k8s.io", "BackendTLSPolicy", ("v1", "v1alpha3"), "backend_tls_policy.json"),
    Kind("gateway.networking.k8s.io", "ReferenceGrant", ("v1", "v1beta1", "v1alpha2"), "reference_grant.json"),
    Kind("gateway.networking.x-k8s.io", "XBackendTrafficPolicy", ("v1alpha1",), "x_backend_traffic_policy.json"),
    Kind("weft", "MeshNetworks", ("v1",), "mesh_networks.json", cluster_scoped=True, named=False),
    Kind("weft", "RateLimit", ("v1",), "rate_limit.json"),
    Kind("weft", "ConnectionPolicy", ("v1",), "connection_policy.json"),
    Kind("weft", "MeshConfig", ("v1",), "mesh_config.json", cluster_scoped=True, named=False),
)

_SAME_NAME, _SAME_GROUP = 0.88, 0.8
_BY_GROUP_AND_NAME = {(kind.group, kind.name): kind for kind in KINDS}
_BY_API_VERSION = {(written, kind.name): kind for kind in KINDS for written in kind.api_versions}


def group_of(api_version: str) -> str:
    """The API group of an apiVersion: ``apps`` of ``apps/v1``, "" of ``v1``."""
    return api_version.rpartition("/")[0]


def is_known(group: str, name: str) -> bool:
    """Whether weft reads a kind, in whatever version."""
    return (group, name) in _BY_GROUP_AND_NAME


def versions_of(group: str, name: str) -> tuple[str, ...]:
    """The apiVersions that a known kind is served as, newest first."""
    return _BY_GROUP_AND_NAME[group, name].api_versions


def kind_of(api_version: str, name: str) -> Kind:
    """The row of a kind and version; raises KeyError where weft does not read it."""
    return _BY_API_VERSION[api_version, name]


def meant_by(group: str, name: str) -> Kind | None:
    """The kind that an unknown one was probably meant to be: the same group and nearly the same name, or the same name and nearly the same group.

    The likeness asked for keeps apart what really exists: TCPRoute and HTTPRoute, RequestAuthentication and PeerAuthentication.
    """
    for kind in KINDS:
        if kind.group == group and _is_like(kind.name, name, _SAME_NAME):
            return kind
        if kind.name == name and _is_like(kind.group, group, _SAME_GROUP):
            return kind
    return None


def _is_like(one: str, other: str, least: float) -> bool:
    if 2 * min(len(one), len(other)) < least * (len(one) + len(other)):
        return False
    matcher = difflib.SequenceMatcher(None, one.casefold(), other.casefold())
    # The quick ratio is never less, and tells most apart.
    return matcher.quick_ratio() >= least and matcher.ratio() >= least
