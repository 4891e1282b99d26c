"""Every kind that bears on a mesh is read: rules of each, differences between versions, and nothing that is silently absent."""

from __future__ import annotations

import textwrap

import pytest

from compiler.carried import not_carried
from compiler.cel_rules import holds
from compiler.documents import load_documents
from compiler.kinds import KINDS
from compiler.pipeline import check, compile_tree
from compiler.schemas import schema_for, validate
from compiler.tree import MemoryTree

API = {kind.name: kind.api_versions[0] for kind in KINDS if kind.name != "Gateway"}


def resource(kind: str, spec: str, api_version: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(spec).strip(), "  ")
    return (
        f"apiVersion: {api_version or API[kind]}\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\nspec:\n{body}\n"
    )


def mistakes(kind: str, spec: str, api_version: str = "") -> list[tuple[int, int, str]]:
    """Line and column within the spec, and the message."""
    documents, found = load_documents(MemoryTree({"a.yaml": resource(kind, spec, api_version).encode()}))
    assert found == []
    return [(item.span.line - 4, item.span.column - 2, item.message) for item in validate(documents[0])]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Sidecar", "egress: [{hosts: ['./*', istio-system/*, '~ns/*']}]"),
        ("Sidecar", "egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}, {hosts: ['./*']}]"),
        ("WorkloadEntry", "{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}, serviceAccount: a}"),
        ("WorkloadEntry", "address: unix:///run/a.sock"),
        ("WorkloadGroup", "{template: {serviceAccount: a}, probe: {httpGet: {port: 80}}}"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwksUri: https://a.example/keys, timeout: 5s}]"),
        ("RequestAuthentication", """jwtRules: [{issuer: a, jwks: '{"keys": []}'}]"""),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a: {value: 'request.host'}}}]}]"),
        ("ProxyConfig", "{concurrency: 0, image: {imageType: distroless}}"),
        ("WasmPlugin", "{url: oci://a.example/b:1, pluginConfig: {any: [thing]}}"),
        ("TrafficExtension", "lua: {inlineCode: x}"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {a: 1}}}]"),
        ("GRPCRoute", "rules: [{matches: [{method: {service: a.B, method: C}}], backendRefs: [{name: b, port: 80}]}]"),
        ("TCPRoute", "rules: [{backendRefs: [{name: b, port: 80}]}]"),
        ("TLSRoute", "{hostnames: [a.example], rules: [{backendRefs: [{name: b, port: 80}]}]}"),
        ("UDPRoute", "rules: [{backendRefs: [{name: b, port: 80, weight: 0}]}]"),
        ("ListenerSet", "{parentRef: {name: gw}, listeners: [{name: a, port: 80, protocol: HTTP}]}"),
        (
            "XBackendTrafficPolicy",
            "{targetRefs: [{group: '', kind: Service, name: b}], retryConstraint: {budget: {percent: 5}}}",
        ),
        (
            "BackendTLSPolicy",
            """
            targetRefs: [{group: '', kind: Service, name: b}]
            validation: {hostname: b.example, wellKnownCACertificates: System}
            """,
        ),
        ("Ingress", "rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: b}}}]}}]"),
        ("MeshConfig", "defaultConfig: {concurrency: 2, tracing: {zipkin: {address: 'a:1'}, sampling: 5.5}}"),
        ("MeshConfig", "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a, port: 9000}}]"),
        (
            "MeshNetworks",
            "networks: {net1: {endpoints: [{fromRegistry: c}], gateways: [{address: 1.1.1.1, port: 443}]}}",
        ),
    ],
)
def test_what_is_right_has_no_finding(kind: str, spec: str) -> None:
    assert mistakes(kind, spec) == []


@pytest.mark.parametrize(
    ("kind", "spec", "position", "words"),
    [
        ("Sidecar", "egress: [{hosts: ['*/*']}, {hosts: ['./*']}]", (1, 1), "only one `egress` may be without `port`"),
        (
            "Sidecar",
            "egress: [{hosts: ['*/*']}, {port: {number: 80, name: a}, hosts: ['./*']}]",
            (1, 1),
            "the `egress` without `port` comes last",
        ),
        (
            "Sidecar",
            "outboundTrafficPolicy: {egressProxy: {host: a, port: {number: 1}}}",
            (1, 25),
            "an `egressProxy` is for mode ALLOW_ANY only",
        ),
        (
            "Telemetry",
            "metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]",
            (1, 55),
            "operation UPSERT needs a `value`",
        ),
        ("EnvoyFilter", "configPatches: [{match: {context: WAYPOINT}}]", (1, 35), "go together"),
        (
            "WasmPlugin",
            "{url: oci://a, vmConfig: {env: [{name: a, value: b, valueFrom: HOST}]}}",
            (1, 50),
            "`value` may only be set where valueFrom is INLINE",
        ),
        ("WasmPlugin", "url: ftp://a.example/b", (1, 6), "scheme oci, http, https or file"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwks: keys}]", (1, 30), "is not a JSON Web Key Set"),
        ("RequestAuthentication", "jwtRules: [{forwardOriginalToken: true}]", (1, 13), "needs an `issuer`, or keys"),
        ("WorkloadEntry", "address: a.example:80", (1, 10), "without port and wildcard"),
        ("GRPCRoute", "rules: [{matches: [{method: {service: '.*'}}]}]", (1, 39), "set type RegularExpression"),
        (
            "GRPCRoute",
            "parentRefs: [{name: gw}, {name: gw, sectionName: x}]",
            (1, 33),
            "a second reference to `gw`",
        ),
        ("TLSRoute", "rules: [{backendRefs: [{name: b, port: 80}]}]", (0, 0), "only v1alpha2 may leave them out"),
        (
            "BackendTLSPolicy",
            """
            targetRefs: [{group: '', kind: Service, name: b}, {group: '', kind: Service, name: b, sectionName: x}]
            validation: {hostname: b.example, wellKnownCACertificates: System}
            """,
            (1, 1),
            "of two references to one service either both have `sectionName`, or neither",
        ),
        (
            "XBackendTrafficPolicy",
            "{targetRefs: [{group: '', kind: Service, name: b}], retryConstraint: {budget: {interval: 2h}}}",
            (1, 90),
            "between `1s` and `1h`",
        ),
        ("MeshConfig", "extensionProviders: [{name: a}]", (1, 23), "exactly one kind of provider"),
    ],
)
def test_a_rule_between_fields_is_broken_at_its_place(
    kind: str, spec: str, position: tuple[int, int], words: str
) -> None:
    (found,) = mistakes(kind, spec)
    assert words in found[2]
    assert found[:2] == position or position == (0, 0)


@pytest.mark.parametrize("kind", ["TCPRoute", "UDPRoute", "TLSRoute"])
def test_several_rules_are_for_the_old_version_alone(kind: str) -> None:
    spec = "rules: [{backendRefs: [{name: b, port: 80}]}, {backendRefs: [{name: c, port: 80}]}]"
    assert mistakes(kind, spec, "gateway.networking.k8s.io/v1alpha2") == []
    assert any("there is one rule" in message for _, _, message in mistakes(kind, spec, "gateway.networking.k8s.io/v1"))


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_route_has_at_most_128_matches(kind: str) -> None:
    rule = f"- matches: [{', '.join(['{}'] * 64)}]\n"
    assert mistakes(kind, "rules:\n" + rule * 2) == []
    assert mistakes(kind, "rules:\n" + rule * 4) == [
        (4, 3, "the rules up to this one have 192 matches; a route has at most 128")
    ]


def test_every_rule_in_a_schema_is_cel_and_says_what_is_wrong() -> None:
    rules = [rule for kind in KINDS for rule in _rules(schema_for(kind.api_versions[0], kind.name))]
    assert len(rules) > 20
    for rule in rules:
        assert set(rule) <= {"rule", "message", "at"}
        assert rule["message"]
        holds(rule["rule"], {})


def _rules(part: object) -> list[dict[str, str]]:
    if isinstance(part, list):
        return [rule for item in part for rule in _rules(item)]
    if not isinstance(part, dict):
        return []
    return [*part.get("x-weft-rules", ()), *(rule for inner in part.values() for rule in _rules(inner))]


def test_a_rule_that_cannot_be_decided_is_no_approval() -> None:
    assert holds("self.a > 1", {"a": 2}) is True
    assert holds("self.a > 1", {"a": 1}) is False
    assert holds("self.a > 1", {}) is None
    with pytest.raises(ValueError, match=r"self\.a"):
        holds("self.a >", {})


def test_a_rule_says_nothing_more_about_what_has_the_wrong_shape() -> None:
    assert [message for _, _, message in mistakes("Sidecar", "egress: none")] == [
        "spec.egress: expected a list, found the string `none`"
    ]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("WasmPlugin", "url: oci://registry.example/a"),
    ],
)
def test_a_kind_that_is_not_carried_forbids_publishing_and_is_only_noted_by_check(kind: str, spec: str) -> None:
    tree = MemoryTree({"a.yaml": resource(kind, spec).encode()})
    (warning,) = (item for item in check(tree) if item.code == "WFT0200")
    assert (warning.severity.name, warning.message) == (
        "WARNING",
        f"a `{kind}` is valid, but this version does not carry it yet",
    )
    assert (warning.span.line, warning.span.column) == (4, 1)
    assert compile_tree(tree).snapshot is None


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (resource("Ingress", "ingressClassName: nginx"), []),
        (resource("Ingress", "ingressClassName: istio"), ["spec.ingressClassName: istio"]),
        (
            resource("IngressClass", "controller: istio.io/ingress-controller"),
            ["spec.controller: istio.io/ingress-controller"],
        ),
        (resource("MeshNetworks", "networks: {}"), []),
        (
            resource("MeshNetworks", "networks: {net1: {endpoints: [{fromRegistry: c}], gateways: []}}"),
            ["spec.networks.net1"],
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {any: thing}\n", []),
    ],
)
def test_what_is_others_to_carry_is_not_refused(text: str, refused: list[str]) -> None:
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    found = [item.message.split("`")[1] for document in documents for item in not_carried(document)]
    assert found == refused


@pytest.mark.parametrize(
    ("patch", "words", "advice"),
    [
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE}}",
            "the patch (MERGE of CLUSTER) cannot",
            "`trafficPolicy` of a DestinationRule.",
        ),
        (
            "{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {name: envoy.filters.http.lua}}}",
            "the patch (INSERT_BEFORE of HTTP_FILTER `envoy.filters.http.lua`) cannot",
            "a TrafficExtension with `lua` (this version does not carry that yet).",
        ),
        (
            "{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: envoy.filters.http.local_ratelimit}}}}}",
            "`envoy.filters.http.local_ratelimit`",
            "a RateLimit of weft/v1",
        ),
        ("{patch: {operation: MERGE}}", "the patch (MERGE of no named part) cannot", "Nothing does this"),
    ],
)
def test_each_patch_of_an_envoy_filter_is_answered_with_what_to_use(patch: str, words: str, advice: str) -> None:
    text = resource("EnvoyFilter", f"workloadSelector: {{labels: {{app: a}}}}\nconfigPatches:\n- {patch}\n- {patch}")
    documents, _ = load_documents(MemoryTree({"a.yaml": text.encode()}))
    found = list(not_carried(documents[0]))
    assert [(item.code, item.span.line) for item in found] == [("WFT0200", 7), ("WFT0200", 8)]
    assert words in found[0].message
    assert advice in found[0].help
    assert compile_tree(MemoryTree({"a.yaml": text.encode()})).snapshot is None
