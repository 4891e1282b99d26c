"""Routes: where they attach, what they refer to, and the reason of each refusal."""

from __future__ import annotations

import pytest

from tests.compiler.status.meshes import CLASS, WEB, Statuses, gateway, listener, route

SAME = "{name: http, port: 80, protocol: HTTP}"
HOSTED = listener("http", rest="hostname: '*.example.org'")
TLS = listener("tls", 443, "TLS", "tls: {mode: Passthrough}")
GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: back}
spec:
  from: [{group: gateway.networking.k8s.io, kind: KIND, namespace: shop}]
  to: [{group: "", kind: Service}]
"""
BACK = WEB.replace("namespace: shop", "namespace: back")


def accepted(*texts: str, kind: str = "HTTPRoute") -> str:
    return Statuses(CLASS, WEB, *texts).parent(kind)["Accepted"]


@pytest.mark.parametrize(
    ("listeners", "parent", "hosts", "wanted"),
    [
        (listener("http"), "name: edge, namespace: infra", "", "True Accepted"),
        (listener("http"), "name: edge, namespace: infra, sectionName: http, port: 80", "", "True Accepted"),
        (listener("http"), "name: edge, namespace: infra, sectionName: other", "", "False NoMatchingParent"),
        (listener("http"), "name: edge, namespace: infra, port: 81", "", "False NoMatchingParent"),
        (SAME, "name: edge, namespace: infra", "", "False NotAllowedByListeners"),
        (TLS, "name: edge, namespace: infra", "", "False NotAllowedByListeners"),
        (HOSTED, "name: edge, namespace: infra", "a.example.com", "False NoMatchingListenerHostname"),
        (HOSTED, "name: edge, namespace: infra", "a.example.org", "True Accepted"),
        (HOSTED, "group: '', kind: Service, name: web", "", "True Accepted"),
        (HOSTED, "group: '', kind: Service, name: web, port: 81", "", "False NoMatchingParent"),
        (HOSTED, "group: '', kind: Service, name: nobody", "", "False NoMatchingParent"),
    ],
)
def test_a_parent_accepts_a_route_or_says_why_not(listeners: str, parent: str, hosts: str, wanted: str) -> None:
    assert accepted(gateway(listeners), route(parent=parent, hosts=hosts)) == wanted


@pytest.mark.parametrize(
    ("protocol", "rest", "kinds"),
    [
        ("HTTP", "", {"HTTPRoute", "GRPCRoute"}),
        ("HTTPS", "tls: {certificateRefs: [{name: c}]}", {"HTTPRoute", "GRPCRoute"}),
        ("TLS", "tls: {mode: Passthrough}", {"TLSRoute"}),
        ("TLS", "tls: {mode: Terminate, certificateRefs: [{name: c}]}", {"TLSRoute", "TCPRoute"}),
        ("TCP", "", {"TCPRoute"}),
        ("UDP", "", {"UDPRoute"}),
    ],
)
def test_a_listener_takes_the_kinds_of_its_protocol_and_no_other(protocol: str, rest: str, kinds: set[str]) -> None:
    every = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
    hosts = {"TLSRoute": "a.example.org"}
    routes = [route(kind, name=kind.lower(), hosts=hosts.get(kind, "")) for kind in every]
    found = Statuses(CLASS, WEB, gateway(listener("one", 443, protocol, rest)), *routes)
    assert set((found["Gateway", "edge"].listeners or ())[0].kinds) == kinds
    taken = {kind for kind in every if found.parent(kind, kind.lower())["Accepted"] == "True Accepted"}
    assert taken == kinds
    assert found.attached() == {"one": len(kinds)}


@pytest.mark.parametrize(
    ("namespaces", "wanted"),
    [
        ("from: Selector, selector: {matchLabels: {team: shop}}", "True Accepted"),
        ("from: Selector, selector: {matchLabels: {team: other}}", "False NotAllowedByListeners"),
        ("from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}", "True Accepted"),
        (
            "from: Selector, selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}",
            "False NotAllowedByListeners",
        ),
        ("from: Selector, selector: {}", "True Accepted"),
        ("from: Selector", "False NotAllowedByListeners"),
    ],
)
def test_a_listener_chooses_routes_by_their_namespaces(namespaces: str, wanted: str) -> None:
    shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: shop}}\n"
    chosen = f"{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{{namespaces}}}}}}}"
    assert accepted(shop, gateway(chosen), route()) == wanted


def test_the_nearest_listener_gives_the_reason() -> None:
    far = listener("far", 81)
    found = Statuses(
        CLASS, WEB, gateway(HOSTED, far), route(parent="name: edge, namespace: infra, port: 80", hosts="a.b")
    )
    assert found.parent()["Accepted"] == "False NoMatchingListenerHostname"


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        ("name: web, port: 80", "True ResolvedRefs"),
        ("name: nobody, port: 80", "False BackendNotFound"),
        ("name: web, port: 81", "False BackendNotFound"),
        ("name: web, port: 53", "False BackendNotFound"),
        ("name: web, kind: Bucket", "False InvalidKind"),
        ("name: web, port: 80, namespace: back", "False RefNotPermitted"),
    ],
)
def test_references_are_resolved_or_the_reason_is_told(backend: str, wanted: str) -> None:
    found = Statuses(CLASS, WEB, BACK, gateway(listener("http")), route(backend=backend))
    assert found.parent() == {"Accepted": "True Accepted", "ResolvedRefs": wanted}


@pytest.mark.parametrize(
    ("granted", "wanted"), [("TCPRoute", "True ResolvedRefs"), ("HTTPRoute", "False RefNotPermitted")]
)
def test_a_grant_is_for_one_kind_of_route(granted: str, wanted: str) -> None:
    tcp = route("TCPRoute", backend="name: web, port: 80, namespace: back")
    found = Statuses(CLASS, BACK, GRANT.replace("KIND", granted), gateway(listener("tcp", 9000, "TCP")), tcp)
    assert found.parent("TCPRoute")["ResolvedRefs"] == wanted


def test_a_udp_route_needs_a_udp_port() -> None:
    udp = gateway(listener("udp", 53, "UDP"))
    backends = ("name: web, port: 53", "name: web, port: 80")
    found = [Statuses(CLASS, WEB, udp, route("UDPRoute", backend=backend)).parent("UDPRoute") for backend in backends]
    assert [item["ResolvedRefs"] for item in found] == ["True ResolvedRefs", "False BackendNotFound"]


def test_of_several_bad_references_the_gravest_is_named() -> None:
    both = route(backend="name: nobody, port: 80}, {name: web, kind: Bucket")
    assert Statuses(CLASS, WEB, gateway(listener("http")), both).parent()["ResolvedRefs"] == "False InvalidKind"


def test_what_a_filter_mirrors_to_is_a_reference_too() -> None:
    mirror = "backendRefs: [{name: web, port: 80}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}]"
    text = route().replace("backendRefs: [{name: web, port: 80}]", mirror)
    assert Statuses(CLASS, WEB, gateway(listener("http")), text).parent()["ResolvedRefs"] == "False BackendNotFound"


def test_a_rule_that_weft_cannot_carry_out_makes_a_route_partly_or_wholly_invalid() -> None:
    extended = "{filters: [{type: ExtensionRef, extensionRef: {group: x.org, kind: Thing, name: t}}]}"
    partly = route().replace("rules: [", f"rules: [{extended}, ")
    wholly = route().replace("rules: [{backendRefs: [{name: web, port: 80}]}]", f"rules: [{extended}]")
    found = [Statuses(CLASS, WEB, gateway(listener("http")), text).parent() for text in (partly, wholly)]
    assert found[0]["Accepted"] == "True Accepted"
    assert found[0]["PartiallyInvalid"] == "True UnsupportedValue"
    assert found[1]["Accepted"] == "False UnsupportedValue"
    assert "PartiallyInvalid" not in found[1]


def test_parents_that_are_not_wefts_have_no_entry() -> None:
    other = CLASS.replace("weft.dev/gateway-controller", "example.org/other")
    assert Statuses(other, WEB, gateway(listener("http")), route())["HTTPRoute", "r"].parents == ()
