"""What is said of single proxies, and where it holds: the mesh's defaults, a pod's annotation, the kind ProxyConfig."""

from __future__ import annotations

import pytest

from policies.proxy_headers import ProxyHeaders
from tests.compiler.compiled import compilation, compiled
from tests.compiler.test_link_proxy_protocol import EDGE
from tests.compiler.test_link_sidecars import SHOP, mesh_config

SIDECAR, API, EDGES = "sidecar/shop/reviews-v1", "gateway/infra/api", "gateway/infra/edge"


def edge(said: str = "") -> str:
    annotation = ", annotations: {proxy.istio.io/config: '" + said + "'}" if said else ""
    return EDGE.replace("ANNOTATIONS", annotation)


def headers(*texts: str) -> dict[str, ProxyHeaders]:
    mesh = compiled(SHOP, *texts)
    return {name: mesh.slice(name).proxy.headers for name in (SIDECAR, API, EDGES)}


def test_what_stands_before_gateways_is_no_sidecars_business() -> None:
    topology = "{gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: APPEND_FORWARD}}"
    chosen = ProxyHeaders(trusted_hops=2, certificate="append_forward")
    found = headers(edge(), mesh_config("{defaultConfig: " + topology + "}"))
    assert found == {SIDECAR: ProxyHeaders(), API: chosen, EDGES: chosen}


def test_a_pod_says_more_than_the_mesh_and_the_rest_stays() -> None:
    found = headers(
        edge("{gatewayTopology: {numTrustedProxies: 0}}"),
        mesh_config("{defaultConfig: {gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: SANITIZE}}}"),
    )
    assert found[EDGES] == ProxyHeaders(certificate="sanitize")
    assert found[API] == ProxyHeaders(trusted_hops=2, certificate="sanitize")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{forwardedClientCert: ALWAYS_FORWARD_ONLY}", ProxyHeaders(certificate="always_forward_only")),
        ("{forwardedClientCert: UNDEFINED}", ProxyHeaders()),
        ("{setCurrentClientCertDetails: {cert: true, dns: false}}", ProxyHeaders(shows=("cert", "subject", "uri"))),
        ("{setCurrentClientCertDetails: {}}", ProxyHeaders(shows=("subject", "uri", "dns"))),
        ("{requestId: {disabled: true}}", ProxyHeaders(request_ids=False)),
        ("{requestId: {disabled: false}}", ProxyHeaders()),
        ("{attemptCount: {disabled: true}}", ProxyHeaders(attempts=False)),
        ("{envoyDebugHeaders: {disabled: true}}", ProxyHeaders(internal=False)),
        ("{server: {disabled: true}}", ProxyHeaders(server="")),
        ("{server: {value: mine}}", ProxyHeaders(server="mine")),
        ("{preserveHttp1HeaderCase: true}", ProxyHeaders(spelling=True)),
        ("{metadataExchangeHeaders: {mode: IN_MESH}}", ProxyHeaders()),
    ],
)
def test_what_proxies_say_in_headers(said: str, expected: ProxyHeaders) -> None:
    found = headers(edge(), mesh_config("{defaultConfig: {proxyHeaders: " + said + "}}"))
    assert found[SIDECAR] == expected
    if expected.certificate or expected.shows is not None:
        assert found[EDGES] == ProxyHeaders(), "gateways go by gatewayTopology here"
    else:
        assert found[EDGES] == found[API] == expected


def test_a_connection_policy_says_what_becomes_of_connections_when_policies_change() -> None:
    def rule(name: str, namespace: str, mode: str, selector: str = "") -> str:
        chosen = f"selector: {{matchLabels: {selector}}}, " if selector else ""
        return (
            "apiVersion: weft/v1\nkind: ConnectionPolicy\n"
            f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{chosen}onPolicyChange: {mode}}}\n"
        )

    def found(*texts: str) -> dict[str, str]:
        mesh = compiled(SHOP, edge(), *texts)
        return {name: mesh.slice(name).proxy.on_policy_change for name in (SIDECAR, EDGES)}

    mesh, everywhere = mesh_config("{onPolicyChange: close}"), rule("all", "istio-system", "keep")
    assert found() == {SIDECAR: "revalidate", EDGES: "revalidate"}
    assert found(mesh) == {SIDECAR: "close", EDGES: "close"}
    assert found(mesh, everywhere) == {SIDECAR: "keep", EDGES: "keep"}
    shop = rule("shop", "shop", "close")
    assert found(everywhere, shop) == {SIDECAR: "close", EDGES: "keep"}
    one = rule("one", "infra", "revalidate", "{app: edge}")
    other = rule("other", "infra", "close", "{app: another}")
    assert found(everywhere, shop, one, other) == {SIDECAR: "close", EDGES: "revalidate"}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [("", {SIDECAR: 7_000, EDGES: 7_000}), ("{terminationDrainDuration: 90s}", {EDGES: 90_000})],
)
def test_how_long_a_proxy_that_ends_waits(annotation: str, expected: dict[str, int]) -> None:
    mesh = compiled(SHOP, edge(annotation), mesh_config("{defaultConfig: {terminationDrainDuration: 7s}}"))
    assert {name: mesh.slice(name).proxy.deadlines.drain_ms for name in expected} == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{gatewayTopology: {numTrustedProxies: 1}}", []),
        ("{concurrency: 2, drainDuration: 3s}", ["concurrency", "drainDuration"]),
        ("{proxyHeaders: {xForwardedHost: {}}}", ["proxyHeaders.xForwardedHost"]),
        ("[concurrency]", []),
    ],
)
def test_what_a_pod_says_and_nobody_carries_is_told(said: str, expected: list[str]) -> None:
    found = [one for one in compilation(edge(said)).diagnostics if one.code == "WFT0200"]
    assert [one.message.split("`")[1] for one in found] == [f"proxy.istio.io/config.{path}" for path in expected]
    assert all(one.span.line == 7 for one in found)


def test_how_often_names_are_resolved_again() -> None:
    mesh = compiled(SHOP, edge(), mesh_config("{dnsRefreshRate: 60s}"))
    assert {mesh.slice(name).proxy.deadlines.dns_refresh_ms for name in mesh.names} == {60_000}
