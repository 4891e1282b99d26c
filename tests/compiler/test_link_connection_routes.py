"""TLSRoutes, TCPRoutes, UDPRoutes and GRPCRoutes at the listeners of Gateway API's Gateways."""

from __future__ import annotations

from snapshot.section import FilterChain, GatewayPort, HttpChain, RegisteredEndpoints, ServerTls, TcpChain, UdpChain
from tests.compiler.compiled import CompiledMesh, ask, clusters, compilation, compiled, request

MESH = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: shop}
spec: {selector: {app: raw}, ports: [{name: tls, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {selector: {app: other}, ports: [{name: tls, port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: istio
  listeners:
"""
RAW = "outbound|443||raw.shop.svc.cluster.local"
OTHER = "outbound|443||other.shop.svc.cluster.local"
PASSED = "{name: %s, port: 443, protocol: TLS, hostname: '%s', tls: {mode: Passthrough}}"
ENDED = "{name: ended, port: 443, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: cert}]}}"


def mesh_with(*parts: str, listeners: tuple[str, ...]) -> CompiledMesh:
    return compiled(MESH + "".join(f"  - {listener}\n" for listener in listeners), *parts)


def route(kind: str, name: str, backends: str, hostnames: str = "", section: str = "") -> str:
    version = "v1" if kind == "GRPCRoute" else "v1alpha2"
    named = f", sectionName: {section}" if section else ""
    hosts = f"hostnames: {hostnames}, " if hostnames else ""
    return f"""\
apiVersion: gateway.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: {name}, namespace: shop}}
spec: {{parentRefs: [{{name: edge{named}}}], {hosts}rules: [{{backendRefs: [{backends}]}}]}}
"""


def chains(mesh: CompiledMesh, port: int) -> dict[str, FilterChain]:
    return {chain.name: chain for chain in mesh.slice("gateway/shop/edge").listeners[f"gateway:{port}"].chains}


def leads_to(chain: FilterChain) -> list[tuple[str, int]]:
    assert isinstance(chain.network, TcpChain)
    return [(item.cluster, item.weight) for item in chain.network.destinations]


def test_a_tls_route_passes_its_server_names_through_by_weight() -> None:
    backends = "{name: raw, port: 443, weight: 3}, {name: other, port: 443}"
    mesh = mesh_with(
        route("TLSRoute", "r", backends, "[a.example, b.other]"), listeners=(PASSED % ("passed", "*.example"),)
    )
    found = chains(mesh, 443)
    taken = found["passed/shop/r"]
    assert (taken.server_names, taken.passthrough, taken.tls) == (("a.example",), True, None)
    assert leads_to(taken) == [(RAW, 3), (OTHER, 1)]
    # What no route takes is closed, and does not fall to a listener for every host.
    assert (found["passed"].server_names, leads_to(found["passed"])) == (("*.example",), [])


def test_a_more_specific_listener_has_its_server_names_to_itself() -> None:
    listeners = (PASSED % ("wide", "*.example"), PASSED % ("near", "a.example"))
    mesh = mesh_with(
        route("TLSRoute", "r", "{name: raw, port: 443}", "[a.example, b.example]", "wide"), listeners=listeners
    )
    found = chains(mesh, 443)
    assert found["wide/shop/r"].server_names == ("b.example",)
    assert leads_to(found["near"]) == []


def test_of_two_routes_for_one_server_name_the_first_has_it() -> None:
    mesh = mesh_with(
        route("TLSRoute", "a", "{name: raw, port: 443}", "[a.example]"),
        route("TLSRoute", "b", "{name: other, port: 443}", "[a.example, b.example]"),
        listeners=(PASSED % ("passed", "*.example"),),
    )
    found = chains(mesh, 443)
    assert found["passed/shop/a"].server_names == ("a.example",)
    assert found["passed/shop/b"].server_names == ("b.example",)


def test_tls_that_ends_at_the_gateway_leads_to_a_tcp_route() -> None:
    mesh = mesh_with(route("TCPRoute", "r", "{name: raw, port: 443}"), listeners=(ENDED,))
    taken = chains(mesh, 443)["ended/shop/r"]
    assert (taken.tls, taken.server_names) == (ServerTls(("shop/cert",)), ())
    assert leads_to(taken) == [(RAW, 1)]


def test_a_tcp_listener_leads_to_its_first_route() -> None:
    listener = "{name: plain, port: 9000, protocol: TCP}"
    mesh = mesh_with(
        route("TCPRoute", "a", "{name: raw, port: 443}"),
        route("TCPRoute", "b", "{name: other, port: 443}"),
        listeners=(listener,),
    )
    assert mesh.slice("gateway/shop/edge").listeners["gateway:9000"].protocol == "tcp"
    assert {name: leads_to(chain) for name, chain in chains(mesh, 9000).items()} == {"plain/shop/a": [(RAW, 1)]}


def test_https_and_passed_tls_share_a_port() -> None:
    https = "{name: web, port: 443, protocol: HTTPS, hostname: w.example, tls: {certificateRefs: [{name: cert}]}}"
    mesh = mesh_with(
        route("TLSRoute", "r", "{name: raw, port: 443}"), listeners=(https, PASSED % ("passed", "*.example"))
    )
    found = chains(mesh, 443)
    assert isinstance(found["web"].network, HttpChain)
    assert found["passed/shop/r"].server_names == ("*.example",)


def test_a_backend_that_does_not_exist_keeps_its_share_and_is_reported() -> None:
    text = MESH + "  - {name: plain, port: 9000, protocol: TCP}\n"
    result = compilation(text, route("TCPRoute", "r", "{name: gone, port: 443}"))
    assert "WFT0111" in [item.code for item in result.diagnostics]
    assert result.snapshot is not None
    assert leads_to(chains(CompiledMesh(result.snapshot), 9000)["plain/shop/r"]) == [("", 1)]


GRPC = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: g, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{method: {method: Ping}}]
    backendRefs: [{name: other, port: 443, weight: 7}]
  - matches: [{method: {service: shop.Orders, method: Get}}]
    backendRefs: [{name: raw, port: 443}]
  - matches: [{method: {service: shop.Orders}, headers: [{name: Tier, value: gold}]}]
    backendRefs: [{name: other, port: 443}]
  - matches: [{method: {type: RegularExpression, service: "shop[.](Cart|Bag)"}}]
    backendRefs: [{name: raw, port: 443, weight: 5}]
"""


def test_grpc_methods_are_paths() -> None:
    prepared = mesh_with(GRPC, listeners=("{name: web, port: 80, protocol: HTTP}",)).slice("gateway/shop/edge")

    def taken(path: str, tier: str = "") -> list[tuple[str, int]]:
        head = request(path, host="a", method="POST", headers={"tier": tier} if tier else {})
        return clusters(ask(prepared, head, listener="gateway:80"))

    assert taken("/shop.Orders/Get") == [(RAW, 1)]
    assert taken("/shop.Orders/Put", "gold") == [(OTHER, 1)]
    assert taken("/shop.Orders/Put") == []
    assert taken("/any.Thing/Ping") == [(OTHER, 7)]
    assert taken("/shop.Bag/Put") == [(RAW, 5)]
    assert taken("/shop.Other/Put") == []


MIRRORED = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{name: raw, port: 443}]
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: other, port: 443}, percent: 20}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: raw, port: 443}, fraction: {numerator: 1, denominator: 8}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: other, port: 443}}}
"""


def test_an_http_route_mirrors_by_percent_by_fraction_and_whole() -> None:
    prepared = mesh_with(MIRRORED, listeners=("{name: web, port: 80, protocol: HTTP}",)).slice("gateway/shop/edge")
    decision = ask(prepared, request(host="a"), listener="gateway:80")
    assert [(mirror.cluster, mirror.per_million) for mirror in decision.mirrors] == [
        (OTHER, 200_000),
        (RAW, 125_000),
        (OTHER, 1_000_000),
    ]


CROSS_ORIGIN = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{name: raw, port: 443}]
    filters: [{type: CORS, cors: {allowOrigins: ['https://*.b.test', 'https://a.test'], allowMethods: [GET]}}]
"""


def test_a_cors_filter_takes_a_wildcard_for_at_least_one_label_and_answers_other_origins_itself() -> None:
    prepared = mesh_with(CROSS_ORIGIN, listeners=("{name: web, port: 80, protocol: HTTP}",)).slice("gateway/shop/edge")

    def marks(origin: str) -> dict[bytes, bytes]:
        headers = {"origin": origin, "access-control-request-method": "GET"}
        decision = ask(prepared, request(host="a", method="OPTIONS", headers=headers), listener="gateway:80")
        assert decision.reply is not None
        return dict(decision.reply.headers)

    rest = {b"access-control-allow-methods": b"GET", b"access-control-max-age": b"5"}
    for origin in (b"https://x.b.test", b"https://a.test"):
        assert marks(origin.decode()) == {b"access-control-allow-origin": origin, **rest}
    # What no browser takes for a yes, as Envoy answers.
    assert marks("https://b.test") == rest
    assert marks("https://x.bxtest") == rest


DNS = """\
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec:
  selector: {app: dns}
  ports: [{name: dns, port: 53, protocol: UDP, targetPort: 5353}, {name: dns-tcp, port: 53}]
"""
UDP, PLAIN = "{name: udp, port: 53, protocol: UDP}", "{name: tcp, port: 53, protocol: TCP}"
DATAGRAMS = "outbound|53/udp||dns.shop.svc.cluster.local"


def test_a_udp_route_leads_datagrams_to_udp_ports_by_weight() -> None:
    backends = "{name: dns, port: 53, weight: 3}, {name: raw, port: 443}"
    mesh = mesh_with(DNS, route("UDPRoute", "u", backends), listeners=(UDP,))
    listener = mesh.slice("gateway/shop/edge").listeners["gateway:53/udp"]
    (chain,) = listener.chains
    assert (listener.protocol, listener.bind, chain.name) == ("udp", GatewayPort(53, datagrams=True), "udp/shop/u")
    assert isinstance(chain.network, UdpChain)
    assert [(one.cluster, one.weight) for one in chain.network.destinations] == [(DATAGRAMS, 3), ("", 1)]
    found = compilation(MESH + f"  - {UDP}\n", DNS, route("UDPRoute", "u", backends)).diagnostics
    assert [item.message for item in found] == [
        "Service shop/raw has no UDP port 443; it has none; its share of datagrams is dropped"
    ]


def test_one_number_may_be_had_for_bytes_and_for_datagrams() -> None:
    routes = (route("UDPRoute", "u", "{name: dns, port: 53}"), route("TCPRoute", "t", "{name: dns, port: 53}"))
    mesh = mesh_with(DNS, *routes, listeners=(UDP, PLAIN))
    slice_ = mesh.slice("gateway/shop/edge")
    assert set(slice_.listeners) == {"gateway:53", "gateway:53/udp"}
    datagrams, connections = slice_.clusters[DATAGRAMS], slice_.clusters["outbound|53||dns.shop.svc.cluster.local"]
    assert isinstance(datagrams.endpoints, RegisteredEndpoints)
    assert isinstance(connections.endpoints, RegisteredEndpoints)
    assert (datagrams.protocol, datagrams.endpoints.port, datagrams.tls) == ("udp", 5353, None)
    assert (connections.protocol, connections.endpoints.port) == ("tcp", 53)
    assert connections.tls is not None


def test_of_two_udp_routes_the_first_has_every_datagram_and_without_one_they_go_nowhere() -> None:
    mesh = mesh_with(
        DNS,
        route("UDPRoute", "a", "{name: dns, port: 53}"),
        route("UDPRoute", "b", "{name: raw, port: 1}"),
        listeners=(UDP,),
    )
    (chain,) = mesh.slice("gateway/shop/edge").listeners["gateway:53/udp"].chains
    assert chain.name == "udp/shop/a"
    (closed,) = mesh_with(DNS, listeners=(UDP,)).slice("gateway/shop/edge").listeners["gateway:53/udp"].chains
    assert isinstance(closed.network, UdpChain)
    assert closed.network.destinations == ()


def test_a_service_entrys_udp_port_is_refused_by_name_and_the_others_stay() -> None:
    entry = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [out.example]
  addresses: [10.0.0.8]
  resolution: STATIC
  endpoints: [{address: 10.0.0.9}]
  ports: [{number: 53, name: dns, protocol: UDP}, {number: 54, name: dns-tcp, protocol: TCP}]
"""
    found = compilation(MESH + f"  - {UDP}\n", entry, allow_partial=True).diagnostics
    assert [(item.code, item.message.partition(" is valid")[0]) for item in found] == [
        ("WFT0200", "`spec.ports[0].protocol: UDP`")
    ]


def test_endpoints_that_git_lists_have_udp_ports_too() -> None:
    listed = """\
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec: {ports: [{name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, namespace: shop, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9]}]
ports: [{name: dns, port: 5353, protocol: UDP}]
"""
    mesh = mesh_with(listed, route("UDPRoute", "u", "{name: dns, port: 53}"), listeners=(UDP,))
    (endpoint,) = mesh.slice("gateway/shop/edge").clusters[DATAGRAMS].endpoints.endpoints  # type: ignore[union-attr]
    assert (endpoint.address, endpoint.port) == ("10.0.0.9", 5353)
