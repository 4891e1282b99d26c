"""Gateways: who is one, which chains and hosts it has, and who may bind routes to it."""

from __future__ import annotations

import pytest

from snapshot.index import Selector, select
from snapshot.section import FilterChain, HttpChain, MeshTls, ServerTls, TcpChain
from tests.compiler.compiled import CompiledMesh, ask, clusters, compiled, request

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: shop}
spec: {selector: {app: raw}, ports: [{name: tls, port: 443}]}
"""
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: gateways}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata: {labels: {istio: ingressgateway, version: v7}}
    spec: {serviceAccountName: edge, containers: [{name: a, image: a}]}
"""
WEB = "outbound|80||web.shop.svc.cluster.local"
RAW = "outbound|443||raw.shop.svc.cluster.local"
SELECTED = "gateway/istio=ingressgateway"


def gateway(
    servers: str, *, name: str = "g", namespace: str = "shop", selector: str = "{istio: ingressgateway}"
) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {selector}, servers: [{servers}]}}
"""


def bound(
    http: str,
    *,
    name: str = "v",
    hosts: str = "[a.example]",
    gateways: str = "[g]",
    namespace: str = "shop",
    kind: str = "http",
) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: {hosts}, gateways: {gateways}, {kind}: [{http}]}}
"""


PLAIN = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"
TO_WEB = "route: [{destination: {host: web}}]"


def chains(mesh: CompiledMesh, listener: str, name: str = SELECTED) -> dict[str, FilterChain]:
    return {chain.name: chain for chain in mesh.slice(name).listeners[listener].chains}


def test_without_a_workload_in_git_the_selector_is_the_gateway() -> None:
    mesh = compiled(SERVICES, gateway(PLAIN), bound(f"{{{TO_WEB}}}"))
    entry = select(mesh.snapshot.index, Selector(labels=(("istio", "ingressgateway"), ("pod", "x")), proxy="ingress"))
    assert entry is not None
    assert (entry.name, entry.namespace) == (SELECTED, "istio-system")
    proxy = mesh.slice(SELECTED).proxy
    assert proxy.workload.identity == "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"


def test_a_selected_workload_is_a_gateway_and_has_no_sidecar() -> None:
    mesh = compiled(SERVICES, WORKLOAD, gateway(PLAIN), bound(f"{{{TO_WEB}}}"))
    assert mesh.names == ["gateway/gateways/edge"]
    prepared = mesh.slice("gateway/gateways/edge")
    assert list(prepared.listeners) == ["gateway:80"]
    assert prepared.proxy.workload.identity == "spiffe://cluster.local/ns/gateways/sa/edge"


def test_an_egress_gateway_is_called_so_and_is_no_different() -> None:
    egress = gateway(PLAIN, selector="{istio: egressgateway}")
    (entry,) = compiled(SERVICES, egress, bound(f"{{{TO_WEB}}}")).snapshot.index.slices
    assert (entry.name, entry.proxy) == ("gateway/istio=egressgateway", "egress")


def test_a_gateway_holds_only_the_clusters_that_its_routes_use() -> None:
    prepared = compiled(SERVICES, gateway(PLAIN), bound(f"{{{TO_WEB}}}")).slice(SELECTED)
    assert list(prepared.clusters) == [WEB]


def test_plain_ports_take_clients_from_outside_and_sidecars_by_mutual_tls() -> None:
    found = chains(compiled(SERVICES, gateway(PLAIN)), "gateway:80")
    assert found["http"].network == HttpChain("http.80", edge=True)
    assert (found["mtls-http"].tls, found["mtls-http"].network) == (MeshTls(), HttpChain("http.80"))


def test_a_host_that_no_route_has_is_not_found() -> None:
    prepared = compiled(SERVICES, gateway(PLAIN), bound(f"{{{TO_WEB}}}")).slice(SELECTED)
    decision = ask(prepared, request(host="b.example"), listener="gateway:80")
    assert decision.reply is not None
    assert decision.reply.status == 404


def test_routes_of_one_host_are_merged_and_a_catch_all_comes_last() -> None:
    first = bound(f"{{{TO_WEB}}}", name="a")
    second = bound("{match: [{uri: {prefix: /x}}], directResponse: {status: 418}}", name="b")
    prepared = compiled(SERVICES, gateway(PLAIN), first, second).slice(SELECTED)
    decision = ask(prepared, request("/x", host="a.example"), listener="gateway:80")
    assert decision.reply is not None
    assert decision.reply.status == 418
    assert clusters(ask(prepared, request("/y", host="a.example:80"), listener="gateway:80")) == [(WEB, 1)]


@pytest.mark.parametrize(
    ("offered", "namespace", "served"),
    [
        ("a.example", "shop", True),
        ("*.example", "shop", True),
        ("shop/a.example", "shop", True),
        ("./a.example", "shop", True),
        ("far/a.example", "shop", False),
        ("./a.example", "far", False),
        ("b.example", "shop", False),
    ],
)
def test_a_servers_hosts_say_whose_routes_bind(offered: str, namespace: str, *, served: bool) -> None:
    server = f"{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['{offered}']}}"
    route = "{route: [{destination: {host: web.shop.svc.cluster.local}}]}"
    texts = (gateway(server), bound(route, namespace=namespace, gateways="[shop/g]"))
    decision = ask(compiled(SERVICES, *texts).slice(SELECTED), request(host="a.example"), listener="gateway:80")
    assert bool(decision.destinations) is served


def test_https_servers_are_chosen_by_name_and_name_credential_slots() -> None:
    servers = (
        "{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: a-cert}}, "
        "{port: {number: 443, name: b, protocol: HTTPS}, hosts: [b.example], "
        "tls: {mode: MUTUAL, credentialName: b-cert, caCertCredentialName: b-ca, minProtocolVersion: TLSV1_3}}"
    )
    mesh = compiled(SERVICES, WORKLOAD, gateway(servers), bound(f"{{{TO_WEB}}}", hosts="['*']"))
    found = chains(mesh, "gateway:443", "gateway/gateways/edge")
    assert found["shop/g/0"].tls == ServerTls(("gateways/a-cert",))
    assert found["shop/g/0"].server_names == ("a.example",)
    assert found["shop/g/1"].tls == ServerTls(("gateways/b-cert",), "require", "gateways/b-ca", "TLSv1_3")
    prepared = mesh.slice("gateway/gateways/edge")
    assert [(slot.name, slot.names) for slot in prepared.proxy.credentials] == [
        ("gateways/a-cert", ("a.example",)),
        ("gateways/b-ca", ()),
        ("gateways/b-cert", ("b.example",)),
    ]
    decision = ask(prepared, request(host="a.example", scheme="https"), listener="gateway:443", chain="shop/g/0")
    assert clusters(decision) == [(WEB, 1)]
    other = ask(prepared, request(host="b.example", scheme="https"), listener="gateway:443", chain="shop/g/0")
    assert other.reply is not None


def test_https_redirect_answers_each_request_of_its_hosts() -> None:
    redirecting = "{port: {number: 80, name: r, protocol: HTTP}, hosts: [a.example], tls: {httpsRedirect: true}}"
    other = "{port: {number: 80, name: p, protocol: HTTP}, hosts: [b.example]}"
    routes = bound(f"{{{TO_WEB}}}", hosts="[a.example, b.example]")
    alone = ask(
        compiled(SERVICES, gateway(redirecting), routes).slice(SELECTED),
        request("/x", host="a.example"),
        listener="gateway:80",
    )
    mixed = compiled(SERVICES, gateway(f"{redirecting}, {other}"), routes).slice(SELECTED)
    for decision in (alone, ask(mixed, request("/x", host="a.example"), listener="gateway:80")):
        assert decision.reply is not None
        assert (decision.reply.status, decision.reply.headers) == (301, ((b"location", b"https://a.example/x"),))
    assert clusters(ask(mixed, request(host="b.example"), listener="gateway:80")) == [(WEB, 1)]


def test_passthrough_chooses_by_server_name_without_ending_tls() -> None:
    server = "{port: {number: 443, name: t, protocol: TLS}, hosts: ['*.example'], tls: {mode: PASSTHROUGH}}"
    rule = "{match: [{port: 443, sniHosts: [raw.example]}], route: [{destination: {host: raw}}]}"
    mesh = compiled(SERVICES, gateway(server), bound(rule, hosts="[raw.example]", kind="tls"))
    (chain,) = chains(mesh, "gateway:443").values()
    assert (chain.server_names, chain.passthrough, chain.tls) == (("raw.example",), True, None)
    assert isinstance(chain.network, TcpChain)
    assert [item.cluster for item in chain.network.destinations] == [RAW]


def test_a_tcp_server_sends_connections_on() -> None:
    server = "{port: {number: 9000, name: t, protocol: TCP}, hosts: ['*']}"
    rule = "{match: [{port: 9000}], route: [{destination: {host: raw}}]}"
    found = chains(compiled(SERVICES, gateway(server), bound(rule, hosts="['*']", kind="tcp")), "gateway:9000")
    network = found["shop/g/0"].network
    assert isinstance(network, TcpChain)
    assert [item.cluster for item in network.destinations] == [RAW]


def policy(spec: str, *, namespace: str = "shop", name: str = "p") -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def test_policies_of_a_gateway_are_those_that_select_its_workload() -> None:
    deny = "{selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{to: [{operation: {paths: [/secret]}}]}]}"
    texts = (SERVICES, WORKLOAD, gateway(PLAIN), bound(f"{{{TO_WEB}}}", hosts="['*']"))
    mesh = compiled(*texts, policy(deny, namespace="gateways"), policy("{}", namespace="shop"))
    prepared = mesh.slice("gateway/gateways/edge")
    decision = ask(prepared, request("/secret", host="a.example"), listener="gateway:80")
    assert decision.reply is not None
    assert (decision.reply.status, decision.sources[0].path) == (403, "spec.rules[0]")
    assert ask(prepared, request("/x", host="a.example"), listener="gateway:80").reply is None


def test_of_two_servers_for_one_name_the_first_has_it() -> None:
    secure = (
        "{{port: {{number: 443, name: s, protocol: HTTPS}}, hosts: [{}], tls: {{mode: SIMPLE, credentialName: {}}}}}"
    )
    first = gateway(secure.format("a.example", "one"), name="a")
    second = gateway(secure.format("a.example, b.example", "two"), name="b")
    found = chains(compiled(SERVICES, first, second), "gateway:443")
    assert {name: chain.server_names for name, chain in found.items()} == {
        "shop/a/0": ("a.example",),
        "shop/b/0": ("b.example",),
    }


def test_only_http_ports_of_a_gateway_are_reached_by_mutual_tls() -> None:
    servers = f"{PLAIN}, {{port: {{number: 9000, name: t, protocol: TCP}}, hosts: ['*']}}"
    service = """\
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: gateways}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80}, {name: tcp, port: 9000}]}
"""
    client = WORKLOAD.replace("name: edge", "name: client").replace("istio: ingressgateway", "app: client")
    prepared = compiled(SERVICES, WORKLOAD, gateway(servers), service, client).slice("sidecar/gateways/client")
    assert prepared.clusters["outbound|80||edge.gateways.svc.cluster.local"].tls is not None
    assert prepared.clusters["outbound|9000||edge.gateways.svc.cluster.local"].tls is None
