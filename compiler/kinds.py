"""The kinds that weft reads: one literal table, from which versions, schemas and scope follow.

A schema belongs to a kind, not to a version: the versions that one API serves differ in nothing that weft reads, so they share a file
(Istio's v1, v1beta1 and v1alpha3; Gateway API's v1 and v1beta1).
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

KINDS: tuple[Kind, ...] = (
    Kind("", "Namespace", ("v1",), "namespace.json", cluster_scoped=True),
    Kind("", "Service", ("v1",), "service.json"),
    Kind("", "ServiceAccount", ("v1",), "service_account.json"),
    Kind("", "Pod", ("v1",), "pod.json"),
    Kind("", "Secret", ("v1",), "secret.json"),
    Kind("apps", "Deployment", ("v1",), "deployment.json"),
    Kind("networking.istio.io", "VirtualService", _ISTIO, "virtual_service.json"),
    Kind("networking.istio.io", "DestinationRule", _ISTIO, "destination_rule.json"),
    Kind("networking.istio.io", "Gateway", _ISTIO, "istio_gateway.json"),
    Kind("networking.istio.io", "ServiceEntry", _ISTIO, "service_entry.json"),
    Kind("security.istio.io", "PeerAuthentication", _SECURITY, "peer_authentication.json"),
    Kind("security.istio.io", "AuthorizationPolicy", _SECURITY, "authorization_policy.json"),
    Kind("gateway.networking.k8s.io", "GatewayClass", _GATEWAY_API, "gateway_class.json", cluster_scoped=True),
    Kind("gateway.networking.k8s.io", "Gateway", _GATEWAY_API, "gateway.json"),
    Kind("gateway.networking.k8s.io", "HTTPRoute", _GATEWAY_API, "http_route.json"),
    Kind("gateway.networking.k8s.io", "ReferenceGrant", ("v1", "v1beta1", "v1alpha2"), "reference_grant.json"),
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
        if kind.group == group and _likeness(kind.name, name) >= _SAME_NAME:
            return kind
        if kind.name == name and _likeness(kind.group, group) >= _SAME_GROUP:
            return kind
    return None


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.casefold(), other.casefold()).ratio()
