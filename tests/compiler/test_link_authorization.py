"""AuthorizationPolicies on sidecars: which hold, and what their fields ask."""

from __future__ import annotations

import pytest

from snapshot.decision import Decision
from tests.compiler.compiled import CompiledMesh, ask, compiled, request

APP = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: shop}
spec:
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: a}]}}
"""
CLIENT = "spiffe://cluster.local/ns/front/sa/web"


def policy(spec: str, *, name: str = "p", namespace: str = "shop", meta: str = "") -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}{meta}}}
spec: {spec}
"""


def asked(mesh: CompiledMesh, url: str = "/", *, identity: str = CLIENT, method: str = "GET") -> Decision:
    prepared = mesh.slice("sidecar/shop/a")
    head = request(url, host="a", method=method)
    return ask(prepared, head, listener="inbound|8080", chain="mtls-http", identity=identity)


def allowed(mesh: CompiledMesh, url: str = "/", *, identity: str = CLIENT, method: str = "GET") -> bool:
    return asked(mesh, url, identity=identity, method=method).reply is None


def test_without_a_policy_all_is_allowed_and_the_slice_has_no_policy_set() -> None:
    mesh = compiled(APP)
    assert allowed(mesh)
    assert mesh.slice("sidecar/shop/a").policies == {}


def test_an_empty_allow_policy_denies_all() -> None:
    assert not allowed(compiled(APP, policy("{}")))


def test_an_empty_rule_matches_everything() -> None:
    assert allowed(compiled(APP, policy("{rules: [{}]}")))


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ("from: [{source: {principals: [cluster.local/ns/front/sa/web]}}]", True),
        ("from: [{source: {principals: ['*/sa/web']}}]", True),
        ("from: [{source: {principals: ['other/*']}}]", False),
        ("from: [{source: {namespaces: [front]}}]", True),
        ("from: [{source: {notNamespaces: [front]}}]", False),
        ("from: [{source: {serviceAccounts: [front/web]}}]", True),
        ("from: [{source: {serviceAccounts: [web]}}]", False),
        ("from: [{source: {trustDomains: [cluster.local]}}]", True),
        ("from: [{source: {ipBlocks: [127.0.0.0/8]}}]", True),
        ("from: [{source: {ipBlocks: [10.0.0.0/8]}}]", False),
        ("to: [{operation: {methods: [GET], paths: [/a*]}}]", True),
        ("to: [{operation: {methods: [POST], paths: [/a*]}}]", False),
        ("to: [{operation: {hosts: [A]}}]", True),
        ("to: [{operation: {paths: ['/{*}']}}]", True),
        ("to: [{operation: {paths: ['/{*}/x']}}]", False),
        ("to: [{operation: {paths: ['/{**}']}}]", True),
        ("to: [{operation: {notPaths: ['/a{**}']}}]", False),
        ("to: [{operation: {ports: ['80']}}]", True),
        ("when: [{key: 'request.headers[x]', values: ['1']}]", False),
        ("when: [{key: source.namespace, notValues: [front]}]", False),
    ],
)
def test_each_field_asks_its_attribute(rule: str, *, fits: bool) -> None:
    assert allowed(compiled(APP, policy(f"{{rules: [{{{rule}}}]}}")), "/abc") is fits


def test_a_denial_names_the_rule_that_decided() -> None:
    text = policy(
        "{action: DENY, rules: [{from: [{source: {namespaces: [back]}}]}, {to: [{operation: {paths: [/x]}}]}]}"
    )
    decision = asked(compiled(APP, text), "/x")
    assert decision.reply is not None
    assert decision.reply.status == 403
    prepared = compiled(APP, text).slice("sidecar/shop/a")
    position = prepared.position(decision.sources[0])
    assert (decision.sources[0].path, str(position)) == ("spec.rules[1]", "1.yaml:4:72")


@pytest.mark.parametrize(
    ("namespace", "selector", "holds"),
    [
        ("shop", "", True),
        ("shop", "selector: {matchLabels: {app: a}}", True),
        ("shop", "selector: {matchLabels: {app: b}}", False),
        ("far", "", False),
        ("istio-system", "", True),
        ("istio-system", "selector: {matchLabels: {app: a}}", True),
    ],
)
def test_policies_hold_in_their_namespace_or_from_the_root(namespace: str, selector: str, *, holds: bool) -> None:
    assert allowed(compiled(APP, policy(f"{{{selector}}}", namespace=namespace))) is not holds


def test_a_custom_action_denies_where_it_is_published_all_the_same() -> None:
    text = policy("{action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/x]}}]}]}")
    assert not allowed(compiled(APP, text, allow_partial=True), "/y")


@pytest.mark.parametrize(
    "text",
    [
        policy("{action: AUDIT, rules: [{}]}"),
        policy("{action: DENY, rules: [{}]}", meta=', annotations: {istio.io/dry-run: "true"}'),
    ],
)
def test_policies_that_only_log_are_not_enforced(text: str) -> None:
    assert allowed(compiled(APP, text, allow_partial=True))
