"""Istio's analyzer cases: the same codes on the same resources, counted as multisets, by all our checks at once.

A case runs with one of Istio's analyzers and with the resources that Istio's tests always add (its ingress gateway), so of our findings
those count whose code that analyzer has.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from compiler.dates import Dates
from compiler.documents import load_documents
from compiler.node import Document
from compiler.resources.load import READERS
from compiler.resources.meta import kind_of
from compiler.schemas import validate
from compiler.surroundings import Neighbours
from compiler.tree import MemoryTree
from tests.compiler.inventories import inventory_of
from tests.conformance.corpus import DATA, Tally, read

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INSTALLED = b"""\
apiVersion: v1
kind: Pod
metadata: {name: istio-ingressgateway, namespace: istio-system, labels: {istio: ingressgateway, app: istio-ingressgateway}}
spec: {containers: [{name: istio-proxy, image: proxyv2}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http2, port: 80}, {name: https, port: 443}]}
"""
CODES = {
    "maturity.AlphaAnalyzer": {"IST0136"},
    "annotations.K8sAnalyzer": {"IST0107", "IST0108", "IST0125", "IST0135"},
    "authn.BlockedCIDRsAnalyzer": {"IST0175"},
    "authz.AuthorizationPoliciesAnalyzer": {"IST0101", "IST0127"},
    "conditions.ConditionAnalyzer": {"IST0171"},
    "deployment.ApplicationUIDAnalyzer": {"IST0144"},
    "deployment.ServiceAssociationAnalyzer": {"IST0116", "IST0137"},
    "deprecation.FieldAnalyzer": {"IST0002"},
    "destinationrule.CaCertificateAnalyzer": {"IST0128", "IST0129"},
    "destinationrule.PodNotSelectedAnalyzer": {"IST0173"},
    "envoyfilter.EnvoyPatchAnalyzer": {"IST0151", "IST0152", "IST0153", "IST0154", "IST0155"},
    "externalcontrolplane.ExternalControlPlaneAnalyzer": {"IST0163", "IST0164"},
    "gateway.CertificateAnalyzer": {"IST0138"},
    "gateway.ConflictingGatewayAnalyzer": {"IST0145"},
    "gateway.IngressGatewayPortAnalyzer": {"IST0101", "IST0162"},
    "gateway.SecretAnalyzer": {"IST0101", "IST0161"},
    "injection.Analyzer": {"IST0102", "IST0103", "IST0123", "IST0148"},
    "injection.ImageAnalyzer": {"IST0158"},
    "injection.ImageAutoAnalyzer": {"IST0146", "IST0147"},
    "k8sgateway.CRDVersionAnalyzer": {"IST0176"},
    "k8sgateway.SelectorAnalyzer": {"IST0166"},
    "multicluster.MeshNetworksAnalyzer": {"IST0126"},
    "schemaValidation.CollectionValidationAnalyzer(collections.VirtualService)": {"IST0130", "IST0131"},
    "service.PortNameAnalyzer": {"IST0118", "IST0150"},
    "serviceentry.ConflictingServiceEntryProtocolAnalyzer": {"IST0177"},
    "serviceentry.ProtocolAddressesAnalyzer": {"IST0134"},
    "sidecar.DefaultSelectorAnalyzer": {"IST0111"},
    "sidecar.SelectorAnalyzer": {"IST0101", "IST0110", "IST0167"},
    "telemetry.DefaultSelectorAnalyzer": {"IST0160"},
    "telemetry.LightstepAnalyzer": {"IST0002"},
    "telemetry.ProdiverAnalyzer": {"IST0157"},
    "telemetry.SelectorAnalyzer": {"IST0159"},
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": {"IST0109"},
    "virtualservice.DestinationHostAnalyzer": {"IST0101", "IST0112"},
    "virtualservice.DestinationRuleAnalyzer": {"IST0101"},
    "virtualservice.GatewayAnalyzer": {"IST0101", "IST0132", "IST0165"},
    "virtualservice.JWTClaimRouteAnalyzer": {"IST0149"},
    "webhook.Analyzer": {"IST0139"},
}
MISSING = {
    "authz.AuthorizationPoliciesAnalyzer": "no namespace",
    "gateway.IngressGatewayPortAnalyzer": "no workload in Git",
    "gateway.SecretAnalyzer": "no workload in Git|credential",
    "sidecar.SelectorAnalyzer": "no workload of",
    "virtualservice.DestinationHostAnalyzer": "host|.* has no port",
    "virtualservice.DestinationRuleAnalyzer": "subset",
    "virtualservice.GatewayAnalyzer": "gateway",
}
"""IST0101 is reported by many analyzers; our message says which reference is meant."""
NAMED = {"MeshNetworks": "meshnetworks"}
"""Istio's tests give the settings of the mesh a name of their own."""


def run() -> Tally:
    """Every case whose analyzer's codes we have."""
    tally = Tally()
    for case in read("analyzer/cases.json")["cases"]:
        name = f"{case['name']} ({', '.join(case['input_files'])})"
        if case["analyzer"] not in CODES:
            tally.leave(name, f"no check stands for {case['analyzer']}")
        else:
            tally.count(name, difference(expected(case), found(case)))
    return tally


def expected(case: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Code and resource of each finding that Istio reports, in our form: kind and name."""
    return Counter((item["code"], _short(item["resource"])) for item in case["expected"])


def found(case: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Code and resource of each finding of ours whose code the case's analyzer has."""
    files = {name.replace("/", "_"): (DATA / "analyzer" / name).read_bytes() for name in case["input_files"]}
    for field, kind in (("mesh_config_file", "MeshConfig"), ("mesh_networks_file", "MeshNetworks")):
        if case[field]:
            text = (DATA / "analyzer" / case[field]).read_text()
            files[f"{field}.yaml"] = _settings(kind, text)
    documents, _ = load_documents(MemoryTree({"installed.yaml": INSTALLED, **files}))
    inventory = inventory_of([document for document in documents if _readable(document)])
    codes = CODES[case["analyzer"]]
    findings = [item for part in Neighbours(inventory).all() for item in part.findings(Dates(NOW))]
    missing = MISSING.get(case["analyzer"], "")
    return Counter(
        (item.code, f"{item.resource.kind} {NAMED.get(item.resource.kind, item.resource.name)}")
        for item in findings
        if item.code in codes
        and item.resource
        and (item.code != "IST0101" or re.match(missing, item.message))
        and item.span.file != "installed.yaml"
    )


def _readable(document: Document) -> bool:
    """Istio analyses what its own schema refuses; of that we take what our readers can read all the same."""
    try:
        READERS[kind_of(document)](document, {})
    except AssertionError:
        return False
    except KeyError:
        return not validate(document)
    return True


def _settings(kind: str, text: str) -> bytes:
    """Settings of the mesh as Istio keeps them: a text in the ConfigMap ``istio``."""
    key = {"MeshConfig": "mesh", "MeshNetworks": "meshNetworks"}[kind]
    block = "\n".join(f"    {line}" for line in text.splitlines())
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n"
    return f"{head}  {key}: |\n{block}\n".encode()


def _short(resource: str) -> str:
    kind, _, name = resource.partition(" ")
    return f"{kind} {name.rpartition('/')[2]}"


def difference(wanted: Counter[tuple[str, str]], got: Counter[tuple[str, str]]) -> str | None:
    """What is missing and what is too much, or None."""
    missing, extra = wanted - got, got - wanted
    parts = [
        f"missing {sorted(missing.elements())}" if missing else "",
        f"extra {sorted(extra.elements())}" if extra else "",
    ]
    return "; ".join(filter(None, parts)) or None
