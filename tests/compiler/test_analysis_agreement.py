"""Where our checks and Istio's analyzers look at the same thing, they see the same: cases beyond the good and bad one of each code."""

from __future__ import annotations

import pytest

from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.compiler.kinds_in_yaml import deployment, document, service

ISTIO = "networking.istio.io/v1"
WEB = service("web", "[{name: http, port: 80}, {name: admin, port: 81}]") + deployment("web")
SERVER = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['%s']}"


def routed(name: str, rest: str) -> str:
    return document(
        ISTIO,
        "VirtualService",
        name,
        f"{{hosts: [web], http: [{{route: [{{destination: {{host: web, port: {{number: 80}}}}}}]{rest}}}]}}",
    )


def gateway(name: str, host: str) -> str:
    return document(ISTIO, "Gateway", name, f"{{selector: {{app: web}}, servers: [{SERVER % host}]}}")


def found(text: str, code: str) -> list[str]:
    """Which resources a code is found at."""
    diagnostics = check(MemoryTree({"a.yaml": text.encode()}))
    return sorted(item.resource.name for item in diagnostics if item.code == code and item.resource)


CASES = {
    "a mirror's host that does not exist": (WEB + routed("v", ", mirror: {host: gone}"), "IST0101", ["v"]),
    "a mirror's port that does not exist": (
        WEB + routed("v", ", mirrors: [{destination: {host: web, port: {number: 9}}}]"),
        "IST0101",
        ["v"],
    ),
    "a mirror to a service of two ports": (WEB + routed("v", ", mirror: {host: web}"), "IST0112", ["v"]),
    "a mirror that is right": (WEB + routed("v", ", mirror: {host: web, port: {number: 81}}"), "IST0101", []),
    "both VirtualServices of one host": (WEB + routed("v", "") + routed("w", ""), "IST0109", ["v", "w"]),
    "gateways with overlapping wildcards": (
        WEB + gateway("a", "*.example.com") + gateway("b", "x.example.com"),
        "IST0145",
        ["a", "b"],
    ),
    "gateways with different hosts": (
        WEB + gateway("a", "y.example.com") + gateway("b", "x.example.com"),
        "IST0145",
        [],
    ),
    "two transports of one port": (
        WEB + service("other", "[{name: dns, port: 80, protocol: UDP}]").replace("app: other", "app: web"),
        "IST0116",
        ["web"],
    ),
    "a subset by the node's zone": (
        WEB
        + document(
            ISTIO, "DestinationRule", "d", "{host: web, subsets: [{name: z, labels: {topology.kubernetes.io/zone: a}}]}"
        ),
        "IST0173",
        [],
    ),
    "a subset by an empty zone": (
        WEB
        + document(
            ISTIO,
            "DestinationRule",
            "d",
            "{host: web, subsets: [{name: z, labels: {topology.kubernetes.io/zone: ''}}]}",
        ),
        "IST0173",
        ["d"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_code_is_found_where_istio_finds_it(case: str) -> None:
    text, code, wanted = CASES[case]
    assert found(text, code) == wanted
