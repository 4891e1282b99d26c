"""Istio's own analyzer cases, for the codes that weft has: the same findings on the same resources."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from compiler.analysis import analyze
from compiler.documents import load_documents
from compiler.mesh import Mesh
from compiler.resources import load_resources
from compiler.tree import MemoryTree
from tests.compiler.compiled import CONFORMANCE, conformance

ROOT = CONFORMANCE / "analyzer"
JUDGED = {
    "gateway.ConflictingGatewayAnalyzer": {"IST0145"},
    "virtualservice.GatewayAnalyzer": {"IST0132"},
    "service.PortNameAnalyzer": {"IST0118", "IST0150"},
    "destinationrule.PodNotSelectedAnalyzer": {"IST0173"},
}
LEFT_OUT = {
    "virtualServiceGateways": "a gateway that does not exist is one finding here (IST0101), two there",
    "conflicting gateways detect: no port": "a server without a port has the wrong shape, and analysis never sees it",
    "DestinationRuleSubsetsNotSelectPods": "where Git has no workload of a service, its subsets may well exist elsewhere",
    "virtualServiceInternalGatewayRef": "gateways of Istio's own installation are not known to Git",
}


def cases() -> list[dict[str, Any]]:
    path = ROOT / "cases.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["cases"] if path.exists() else []
    return [case for case in found if case["analyzer"] in JUDGED and case["name"] not in LEFT_OUT]


def findings(case: dict[str, Any]) -> Counter[tuple[str, str]]:
    files = {name.replace("/", "_"): (ROOT / name).read_bytes() for name in case["input_files"]}
    documents, _ = load_documents(MemoryTree(files))
    resources, _ = load_resources(documents)
    found = analyze(Mesh(resources))
    return Counter(
        (item.code, item.resource.name) for item in found if item.code in JUDGED[case["analyzer"]] and item.resource
    )


def test_the_cases_are_here() -> None:
    conformance("analyzer", "cases.json")
    assert len(cases()) > 6


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_the_same_resources_are_found(case: dict[str, Any]) -> None:
    expected = Counter(
        (item["code"], item["resource"].rpartition(" ")[2].rpartition("/")[2]) for item in case["expected"]
    )
    assert findings(case) == expected
