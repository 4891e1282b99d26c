"""What the suite's tests change by Go code that the data cannot hold: for each such step, the change as the test's description tells it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

Documents = list[dict[str, Any]]
INFRA = "gateway-conformance-infra"
_MADE = "tls-checks-ca-certificate-reconcile-test"


def _named(documents: Documents, kind: str, name: str) -> dict[str, Any]:
    return next(item for item in documents if (item["kind"], item["metadata"]["name"]) == (kind, name))


def _add_listener(documents: Documents) -> None:
    """Should be able to add a listener: plain HTTP on port 80."""
    added = {
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "hostname": "data.test.com",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    _named(documents, "Gateway", "gateway-add-listener")["spec"]["listeners"].append(added)


def _remove_listener(documents: Documents) -> None:
    """Should be able to remove listeners: the HTTPS one."""
    spec = _named(documents, "Gateway", "gateway-remove-listener")["spec"]
    spec["listeners"] = [item for item in spec["listeners"] if item["name"] != "https"]


def _second_udp_route(documents: Documents) -> None:
    """A newer UDPRoute on the same listener."""
    newer = deepcopy(_named(documents, "UDPRoute", "udproute-attach-older"))
    newer["metadata"]["name"] = "udproute-attach-newer"
    newer["spec"]["rules"][0]["backendRefs"][0]["name"] = "udp-attach-backend-2"
    documents.append(newer)


def _bump(documents: Documents) -> None:
    """The observed generation should increment after any change."""
    _named(documents, "BackendTLSPolicy", "observed-generation-bump")["spec"]["validation"]["hostname"] = "foo-updated"


def _refer_to_what_is_not_there(documents: Documents) -> None:
    """The policy takes its authorities from a ConfigMap that does not exist yet."""
    reference = _named(documents, "BackendTLSPolicy", "reconcile-test")["spec"]["validation"]["caCertificateRefs"][0]
    reference["name"] = _MADE


def _make(content: str) -> Callable[[Documents], None]:
    """The ConfigMap is made, or made anew, with this content."""

    def change(documents: Documents) -> None:
        documents[:] = [item for item in documents if item["metadata"]["name"] != _MADE]
        meta = {"name": _MADE, "namespace": INFRA}
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"ca.crt": content}})

    return change


_CERTIFICATE = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
CHANGES: dict[tuple[str, int], Callable[[Documents], None]] = {
    ("GatewayModifyListeners", 3): _add_listener,
    ("GatewayModifyListeners", 13): _remove_listener,
    ("UDPRouteMultipleRoutesAttachment", 2): _second_udp_route,
    ("BackendTLSPolicyObservedGenerationBump", 3): _bump,
    ("BackendTLSPolicy", 23): _refer_to_what_is_not_there,
    ("BackendTLSPolicy", 26): _make(_CERTIFICATE),
    ("BackendTLSPolicy", 29): _make("no certificate"),
    ("BackendTLSPolicy", 31): _make(_CERTIFICATE),
}
"""Test and step -> what changes before the step is judged."""
