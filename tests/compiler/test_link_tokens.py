"""RequestAuthentication: for whom its rules hold, with what defaults, and what of its keys gets into a snapshot."""

from __future__ import annotations

import json

import pytest

from compiler.pipeline import compile_tree
from compiler.tree import MemoryTree
from policies.match import ClaimMatch, Exact, Regex
from policies.tokens import ClaimHeader, KeySource, TokenHeader, TokenRule
from snapshot.index import Snapshot, assemble
from snapshot.prepared import PreparedSlice, prepare
from snapshot.section import HttpChain, TokenSet
from tests.tokens import Issuer

ISSUER = Issuer()
MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 9000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: app}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: edge}
spec:
  selector: {matchLabels: {istio: ingress}}
  template:
    metadata: {labels: {istio: ingress}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
SIDECAR, DOOR, EDGE = "sidecar/shop/web", "gateway/shop/door", "gateway/edge/ingress"


def policy(spec: str, namespace: str = "shop", name: str = "tokens") -> str:
    return f"""
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def compiled(*texts: str, partly: bool = False) -> Snapshot:
    done = compile_tree(MemoryTree({"mesh.yaml": "".join((MESH, *texts)).encode()}), allow_partial=partly)
    assert done.snapshot is not None, done.diagnostics
    return done.snapshot


def slices(*texts: str, partly: bool = False) -> dict[str, PreparedSlice]:
    snapshot = compiled(*texts, partly=partly)
    return {entry.name: prepare(assemble(snapshot.digest, entry, snapshot.blobs)) for entry in snapshot.index.slices}


def rules(prepared: PreparedSlice) -> tuple[TokenRule, ...]:
    found = prepared.sections.get(("tokens", "tokens"))
    return found.rules if isinstance(found, TokenSet) else ()


def issuers(made: dict[str, PreparedSlice]) -> dict[str, list[str]]:
    return {name: [rule.issuer for rule in rules(one)] for name, one in made.items() if rules(one)}


RULE = "jwtRules: [{issuer: a, jwksUri: 'https://a.example/keys'}]"


@pytest.mark.parametrize(
    ("spec", "namespace", "where"),
    [
        (f"{{{RULE}}}", "shop", {SIDECAR, DOOR}),
        (f"{{{RULE}}}", "istio-system", {SIDECAR, DOOR, EDGE}),
        (f"{{{RULE}}}", "other", set()),
        (f"{{selector: {{matchLabels: {{app: web}}}}, {RULE}}}", "shop", {SIDECAR}),
        (f"{{selector: {{matchLabels: {{istio: ingress}}}}, {RULE}}}", "istio-system", {EDGE}),
        (f"{{selector: {{matchLabels: {{istio: ingress}}}}, {RULE}}}", "shop", set()),
        (f"{{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: door}}], {RULE}}}", "shop", {DOOR}),
        (f"{{targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: other}}, {RULE}}}", "shop", set()),
        ("{}", "shop", set()),
    ],
)
def test_a_policy_holds_for_whom_it_selects(spec: str, namespace: str, where: set[str]) -> None:
    assert set(issuers(slices(policy(spec, namespace)))) == where


def test_the_rules_of_several_policies_hold_together_sorted_by_issuer() -> None:
    first = policy("{jwtRules: [{issuer: c, jwksUri: 'https://c/'}, {issuer: a, jwksUri: 'https://a/'}]}")
    second = policy("{jwtRules: [{issuer: b, jwksUri: 'https://b/'}]}", "istio-system", "more")
    assert issuers(slices(first, second))[SIDECAR] == ["a", "b", "c"]


def test_tokens_are_asked_for_where_clients_come_in_and_nowhere_else() -> None:
    made = slices(policy(f"{{{RULE}}}"))[SIDECAR]
    asked = {
        listener.direction
        for listener in made.listeners.values()
        for chain in listener.chains
        if isinstance(chain.network, HttpChain) and chain.network.tokens
    }
    assert asked == {"inbound"}


def test_every_field_of_a_rule_is_carried() -> None:
    spec = """
  jwtRules:
  - issuer: a
    jwksUri: https://a.example/keys
    timeout: 3s
    audiences: [x, z]
    fromHeaders: [{name: X-Token, prefix: "Token "}]
    fromParams: [token]
    fromCookies: [session]
    outputPayloadToHeader: X-Payload
    outputClaimToHeaders: [{header: X-Sub, claim: sub}]
    forwardOriginalToken: true
    spaceDelimitedClaims: [roles]
    presence: REQUIRED
"""
    (rule,) = rules(slices(policy(spec))[SIDECAR])
    assert rule == TokenRule(
        source=rule.source,
        issuer="a",
        keys=KeySource(uri="https://a.example/keys", timeout_ms=3000),
        audiences=("x", "z"),
        headers=(TokenHeader("x-token", "Token "),),
        parameters=("token",),
        cookies=("session",),
        payload_header="x-payload",
        claim_headers=(ClaimHeader("x-sub", "sub"),),
        forward=True,
        listed=("scope", "permission", "roles"),
        required=True,
    )


def test_without_keys_the_issuer_is_asked_for_them() -> None:
    (rule,) = rules(slices(policy("{jwtRules: [{issuer: 'https://a.example'}]}"))[SIDECAR])
    assert rule.keys == KeySource(issuer="https://a.example", timeout_ms=5000)


def test_nothing_secret_of_a_key_gets_into_a_snapshot() -> None:
    secret = ISSUER.key.as_dict(private=True)
    written = json.dumps({"keys": [secret]})
    snapshot = compiled(policy(f"{{jwtRules: [{{issuer: a, jwks: '{written}'}}]}}"))
    assert all(secret["d"].encode() not in blob for blob in snapshot.blobs.values())
    (rule,) = rules(slices(policy(f"{{jwtRules: [{{issuer: a, jwks: '{written}'}}]}}"))[SIDECAR])
    (key,) = json.loads(rule.keys.jwks)["keys"]
    assert (key["x"], key["kid"], "d" in key) == (secret["x"], "one", False)


def test_a_broken_policy_refuses_every_token_where_it_is_about() -> None:
    broken = policy("{selector: {matchLabels: {app: web}}, jwtRules: [{issuer: a, jwks: nothing}]}")
    (rule,) = rules(slices(broken, partly=True)[SIDECAR])
    assert (rule.issuer, rule.keys.jwks, rule.keys.issuer) == ("nowhere.invalid", "", "nowhere.invalid")


def routed(headers: str, without: str = "{}") -> tuple[ClaimMatch, ...]:
    text = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: edge}}
spec:
  hosts: [web.example]
  gateways: [edge]
  http:
  - match: [{{headers: {headers}, withoutHeaders: {without}}}]
    route: [{{destination: {{host: web.shop.svc.cluster.local, port: {{number: 80}}}}}}]
"""
    made = slices(text, policy(f"{{{RULE}}}", "edge"))[EDGE]
    found = [route.route for host in made.hosts.values() for route in host.routes.values() if route.route.match.claims]
    assert all(not route.match.headers for route in found)
    return found[0].match.claims if found else ()


def test_headers_that_name_claims_are_questions_about_claims() -> None:
    assert routed('{"@request.auth.claims.a.B": {exact: x}}') == (ClaimMatch(("a", "B"), Exact("x")),)
    assert routed('{"@request.auth.claims[a.b][c]": {regex: "x.*"}}') == (ClaimMatch(("a.b", "c"), Regex("x.*")),)
    assert routed("{}", '{"@request.auth.claims.a": {exact: x}}') == (ClaimMatch(("a",), Exact("x"), invert=True),)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{issuer: a}", "`a` is no URL"),
        ("{issuer: 'https://a.example'}", ""),
        ("{issuer: a, jwksUri: 'https://a.example/keys'}", ""),
        (f"{{issuer: a, jwks: '{ISSUER.jwks}'}}", ""),
        ("{issuer: a, jwks: '{\"keys\": []}'}", "no public key"),
        (
            f"{{issuer: a, jwks: '{json.dumps({'keys': [ISSUER.key.as_dict(private=True)]})}'}}",
            "secret part of key `one`",
        ),
    ],
)
def test_keys_that_check_no_token_or_that_are_secret_are_said(rule: str, says: str) -> None:
    tree = MemoryTree({"mesh.yaml": (MESH + policy(f"{{jwtRules: [{rule}]}}")).encode()})
    found = [one.message for one in compile_tree(tree).diagnostics if one.code == "WFT0135"]
    assert len(found) == bool(says)
    assert all(says in one for one in found)
