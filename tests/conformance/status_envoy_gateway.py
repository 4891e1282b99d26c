"""Envoy Gateway's cases: the conditions that it gives objects of the Gateway API, where they are the specification's and not its own."""

from __future__ import annotations

import json
from typing import Any

import yaml

from compiler.diagnostic import Diagnostic, Severity
from compiler.pipeline import understand
from compiler.status import shape, statuses
from compiler.tree import MemoryTree
from tests.conformance.corpus import Tally, read
from tests.conformance.status_golden import STATUSED, Facts, status_facts

TYPES = frozenset({"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "attachedRoutes"})
OWN_REASONS = frozenset(
    {
        "InvalidBackendTLS",
        "PartiallyInvalidCertificateRef",
        "PortNotSpecified",
        "UnsupportedRefValue",
        "UnsupportedAddressType",
    }
)
CLASS = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "envoy-gateway-class"},
    "spec": {"controllerName": "weft.dev/gateway-controller"},
}
CASES = {
    "backendtlspolicy-ca-only-fallback-tlscrt": "Envoy Gateway takes a certificate for an authority where there is none",
    "gateway-with-listener-with-invalid-multiple-tls-configuration": "Envoy Gateway programs a listener with some of its certificates",
    "gateway-with-listener-with-mismatched-tls-key-cert": "weft does not compare keys with certificates: keys are not in Git",
    "gateway-with-two-listeners-with-http-and-tlsroute-same-hostname-and-port": "Envoy Gateway accepts routes at conflicted listeners",
    "listenerset-https-tls-secret-does-not-exist": "Envoy Gateway accepts a ListenerSet none of whose listeners can serve",
    "gateway-with-listener-with-tcproute-with-multiple-rules": "Envoy Gateway takes one rule of a TCPRoute; the specification has sixteen",
    "tlsroute-invalid-reference-grant": "its Namespaces lack the label that Kubernetes gives every one",
    "tlsroute-with-listener-both-passthrough-and-cert-data": "the specification ignores certificateRefs in mode Passthrough",
}
NOT_WEFTS = frozenset({"ServiceImport", "Backend"})
ABSENT = frozenset({"False BackendNotFound", "False TargetNotFound"})


def run_envoy_gateway(tally: Tally) -> None:
    """Every condition of every case."""
    for case in read("envoy-gateway/cases.json")["cases"]:
        _case(tally, case)


def _case(tally: Tally, case: dict[str, Any]) -> None:
    if case["name"].startswith("sds-"):
        tally.leave(case["name"], "certificates by a reference of Envoy Gateway's own")
        return
    documents = [_plain(item) for item in _objects(case["input"]) if _is_carried(item)]
    tree = MemoryTree({"mesh.yaml": yaml.dump_all([CLASS, *documents], Dumper=yaml.CSafeDumper).encode()})
    mesh, found = understand(tree)
    errors = [item for item in found if item.severity is Severity.ERROR]
    if mesh is None:
        tally.leave(case["name"], "an input that its own CRD or another document's refuses")
        return
    weft = _facts([shape(status) for status in statuses(mesh, complete=True)])
    wanted = [item for item in _objects(case["expected_objects"]) if item.get("kind") in STATUSED and "status" in item]
    for key, want in _facts(wanted).items():
        got = weft.get(key, "nothing")
        label = f"envoy-gateway {case['name']}: {' '.join(key)}"
        why = "" if got == want else CASES.get(case["name"], "") or _argued(documents, errors, key, want, got)
        if why:
            tally.leave(label, why)
        else:
            tally.count(label, None if got == want else f"{got}, wanted {want}")


def _objects(lists: dict[str, Any]) -> list[dict[str, Any]]:
    found = [item for value in lists.values() for item in (value if isinstance(value, list) else [value])]
    return [item for item in found if isinstance(item, dict) and "kind" in item]


def _is_carried(item: dict[str, Any]) -> bool:
    return "gateway.envoyproxy.io" not in item["apiVersion"] and item["kind"] != "EndpointSlice"


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """The object as a repository has it, of a version that is served."""
    copy: dict[str, Any] = json.loads(json.dumps(item))
    copy.pop("status", None)
    for key in ("generation", "uid"):
        copy["metadata"].pop(key, None)
    if copy["kind"] in ("BackendTLSPolicy", "GRPCRoute"):
        copy["apiVersion"] = "gateway.networking.k8s.io/v1"
    return copy


def _facts(objects: list[dict[str, Any]]) -> Facts:
    """By object and condition; Envoy Gateway names a listener in a policy's ancestor, where the specification wants the Gateway."""
    found: Facts = {}
    for key, value in status_facts(objects):
        if key[-1] in TYPES:
            gateway = ",".join(part for part in key[3].split(",") if part.startswith(("name=", "namespace=")))
            found[(*key[:3], gateway, *key[4:]) if key[0] == "BackendTLSPolicy" else key] = value
    return found


def _argued(
    documents: list[dict[str, Any]], errors: list[Diagnostic], key: tuple[str, ...], want: str, got: str
) -> str:
    """Why a difference is none of weft's mistakes, or nothing."""
    spec = str(next((d["spec"] for d in documents if (d["kind"], d["metadata"]["name"]) == (key[0], key[2])), ""))
    refused = {(item.resource.name, item.resource.kind.partition(".")[0]) for item in errors if item.resource}
    rules = (
        (want.partition(" ")[2] in OWN_REASONS, "a reason of Envoy Gateway's own"),
        ((key[2], key[0]) in refused, "weft refuses the object with an error"),
        (got in ABSENT, "the Services stand in the Go code of Envoy Gateway's test"),
        (
            got in ("False InvalidKind", "nothing") and any(f"'kind': '{kind}'" in spec for kind in NOT_WEFTS),
            "a kind of backend that weft does not have",
        ),
        (
            key[-1] == "Programmed" and (got, want) == ("True Programmed", "False Invalid"),
            "Envoy Gateway does not program a listener that asks for a wrong kind or selector; Istio and weft do",
        ),
        (
            key[-1] == "Programmed" and got.startswith("False") and want.startswith("False"),
            "the same answer by another reason, where the specification has several",
        ),
        (
            (got, want) == ("True Accepted", "True ListenersNotValid"),
            "a ListenerSet with some valid listeners: Istio's reason; the specification lets either stand",
        ),
    )
    return next((why for holds, why in rules if holds), "")
