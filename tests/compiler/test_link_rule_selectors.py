"""DestinationRules for some clients of their namespace (workloadSelector)."""

from __future__ import annotations

from tests.compiler.compiled import compiled

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: db, namespace: back}
spec: {selector: {app: db}, ports: [{name: http, port: 80}]}
"""
CLIENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: SPACE}
spec:
  selector: {matchLabels: {app: NAME}}
  template: {metadata: {labels: {app: NAME, tier: TIER}}, spec: {containers: [{name: a, image: a}]}}
---
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: front}
spec: {host: db.back.svc.cluster.local, SELECTORtrafficPolicy: {loadBalancer: {simple: BALANCE}}}
---
"""
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: front}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: front}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: db.back.svc.cluster.local}}]}]}
---
"""
SIDECAR = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: front}
spec: {egress: [{hosts: ["*/*"]}]}
---
"""


def client(name: str, space: str, tier: str) -> str:
    return CLIENT.replace("NAME", name).replace("SPACE", space).replace("TIER", tier)


def rule(name: str, balance: str, selector: str = "") -> str:
    asked = f"workloadSelector: {{matchLabels: {selector}}}, " if selector else ""
    return RULE.replace("NAME", name).replace("BALANCE", balance).replace("SELECTOR", asked)


CLIENTS = client("one", "front", "web") + client("two", "front", "batch") + client("three", "back", "web")


def balances(*texts: str) -> dict[str, str]:
    """How each proxy shares out requests to the service."""
    mesh = compiled("".join((CLIENTS, *texts)) + MESH)
    slices = {name: mesh.slice(name) for name in mesh.names}
    found = {name: one.clusters.get("outbound|80||db.back.svc.cluster.local") for name, one in slices.items()}
    return {name.rpartition("/")[2]: one.balance for name, one in found.items() if one is not None}


def test_a_rule_with_a_selector_is_for_the_clients_that_it_selects() -> None:
    chosen = rule("some", "RANDOM", "{tier: web}")
    assert balances(chosen) == {"one": "random", "two": "least_request", "three": "least_request"}
    assert balances(rule("all", "ROUND_ROBIN"), chosen) == {
        "one": "random",
        "two": "round_robin",
        "three": "least_request",
    }


def test_it_is_so_behind_a_sidecar_and_for_gateways() -> None:
    texts = GATEWAY, client("edge", "front", "web"), rule("some", "RANDOM", "{app: edge}")
    assert balances(*texts) == {
        "one": "least_request",
        "two": "least_request",
        "three": "least_request",
        "edge": "random",
    }
    assert balances(SIDECAR, rule("some", "RANDOM", "{tier: web}"))["one"] == "random"


def test_of_two_rules_that_select_a_client_the_first_holds() -> None:
    first, second = rule("a", "RANDOM", "{tier: web}"), rule("b", "ROUND_ROBIN", "{app: one}")
    assert balances(first, second)["one"] == "random"
