"""What a sidecar's slice holds: its identity, what it reaches, how services, rules and MeshConfig shape that."""

from __future__ import annotations

import pytest

from snapshot.index import Selector, select
from snapshot.section import (
    ApplicationEndpoint,
    ConsistentHash,
    DnsEndpoints,
    Endpoint,
    MeshUpstream,
    OriginalDestination,
    RegisteredEndpoints,
    StaticEndpoints,
    TlsUpstream,
)
from tests.compiler.compiled import ask, clusters, compiled, request

SHOP = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  clusterIP: 10.9.8.7
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: web}]
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: far}
spec:
  selector: {app: other}
  ports: [{name: grpc, port: 80, targetPort: 9000}, {name: tcp-raw, port: 7000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec:
      serviceAccountName: reviewer
      containers: [{name: a, image: a, ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: lone, namespace: shop, labels: {app: reviews, version: v2}}
spec: {containers: [{name: a, image: a, ports: [{name: web, containerPort: 8081}]}]}
status: {podIP: 127.0.7.7}
"""
HOST = "reviews.shop.svc.cluster.local"


ALIAS = """\
apiVersion: v1
kind: Service
metadata: {name: old-name, namespace: far}
spec: {type: ExternalName, externalName: reviews.shop.svc.cluster.local}
"""


def test_an_external_name_of_the_mesh_is_another_name_of_the_service() -> None:
    prepared = compiled(SHOP, ALIAS).slice("sidecar/shop/reviews-v1")
    assert "old-name.far.svc.cluster.local:80" in prepared.listeners
    for host in ("old-name.far", "old-name.far.svc.cluster.local", "reviews"):
        decision = ask(prepared, request("/", host=host))
        assert [one.cluster for one in decision.destinations] == [f"outbound|80||{HOST}"]


def test_an_external_name_of_itself_is_no_alias() -> None:
    loop = ALIAS.replace("reviews.shop", "old-name.far")
    assert "old-name.far.svc.cluster.local:80" not in compiled(SHOP, loop).slice("sidecar/shop/reviews-v1").listeners


def test_an_application_is_spoken_to_as_its_client_speaks() -> None:
    prepared = compiled(SHOP).slice("sidecar/shop/reviews-v1")
    assert prepared.clusters["inbound|8080||"].protocol == "same"


def mesh_config(spec: str) -> str:
    return f"apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {{name: mesh}}\nspec: {spec}\n"


def test_every_workload_has_a_slice_that_its_labels_select() -> None:
    mesh = compiled(SHOP)
    assert mesh.names == ["sidecar/shop/lone", "sidecar/shop/reviews-v1"]
    chosen = select(mesh.snapshot.index, Selector(namespace="shop", labels=(("app", "reviews"), ("version", "v1"))))
    assert chosen is not None
    assert chosen.name == "sidecar/shop/reviews-v1"


def test_the_proxy_section_says_who_the_workload_is() -> None:
    config = mesh_config("{trustDomain: td.example, accessLogFile: /dev/stdout, accessLogEncoding: JSON}")
    proxy = compiled(SHOP, config).slice("sidecar/shop/reviews-v1").proxy
    assert proxy.workload.identity == "spiffe://td.example/ns/shop/sa/reviewer"
    assert (proxy.workload.app, proxy.workload.version) == ("reviews", "v1")
    assert (proxy.workload.canonical_name, proxy.workload.canonical_revision) == ("reviews", "v1")
    assert (proxy.access_log.path, proxy.access_log.encoding) == ("/dev/stdout", "JSON")


def test_istios_config_map_is_the_same_mesh_config() -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    trustDomain: td.example
    outboundTrafficPolicy:
      mode: REGISTRY_ONLY
"""
    prepared = compiled(SHOP, text).slice("sidecar/shop/lone")
    assert prepared.proxy.trust_domain == "td.example"
    assert ask(prepared, request(host="elsewhere.example")).reply is not None


def test_named_target_ports_are_those_of_each_workload() -> None:
    mesh = compiled(SHOP)
    assert "inbound|8080" in mesh.slice("sidecar/shop/reviews-v1").listeners
    lone = mesh.slice("sidecar/shop/lone")
    assert "inbound|8081" in lone.listeners
    assert lone.clusters["inbound|8081||"].endpoints == ApplicationEndpoint(8081)
    decision = ask(lone, request(host="anything"), listener="inbound|8081", chain="mtls-http")
    assert clusters(decision) == [("inbound|8081||", 1)]
    assert decision.retry is not None
    assert decision.retry.on == ("reset-before-request",)


@pytest.mark.parametrize(
    "host", ["reviews", "reviews.shop", "reviews.shop.svc", HOST, "REVIEWS", "reviews:80", f"{HOST}:80", "10.9.8.7"]
)
def test_a_service_answers_to_all_its_names_in_its_own_namespace(host: str) -> None:
    prepared = compiled(SHOP).slice("sidecar/shop/lone")
    assert clusters(ask(prepared, request(host=host))) == [(f"outbound|80||{HOST}", 1)]


def test_the_short_name_of_another_namespace_is_not_known() -> None:
    prepared = compiled(SHOP).slice("sidecar/shop/lone")
    assert clusters(ask(prepared, request(host="other.far"))) == [("outbound|80||other.far.svc.cluster.local", 1)]
    assert clusters(ask(prepared, request(host="other"))) == [("PassthroughCluster", 1)]


@pytest.mark.parametrize("port", [80, 4711])
def test_unknown_hosts_pass_through_unless_only_the_registry_is_allowed(port: int) -> None:
    head = request(host=f"elsewhere.example:{port}")
    assert ask(compiled(SHOP).slice("sidecar/shop/lone"), head).passthrough
    only = compiled(SHOP, mesh_config("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))
    decision = ask(only.slice("sidecar/shop/lone"), head)
    assert decision.reply is not None
    assert decision.reply.status == 502


def test_endpoints_are_a_slot_for_the_selected_and_the_pods_that_git_knows() -> None:
    cluster = compiled(SHOP).slice("sidecar/shop/lone").clusters[f"outbound|80||{HOST}"]
    known = Endpoint(
        address="127.0.7.7",
        port=8081,
        mesh=True,
        identity="spiffe://cluster.local/ns/shop/sa/default",
        labels=(("app", "reviews"), ("version", "v2")),
        workload="lone",
        namespace="shop",
    )
    assert cluster.endpoints == RegisteredEndpoints("shop", (("app", "reviews"),), 0, "web", (known,))


def test_auto_mtls_accepts_the_identities_of_the_selected_workloads_alone() -> None:
    tls = compiled(SHOP).slice("sidecar/shop/lone").clusters[f"outbound|80||{HOST}"].tls
    assert tls == MeshUpstream(
        ("spiffe://cluster.local/ns/shop/sa/default", "spiffe://cluster.local/ns/shop/sa/reviewer"),
        f"outbound_.80_._.{HOST}",
        auto=True,
    )


def test_a_listener_per_service_sends_what_names_no_service_to_its_own() -> None:
    prepared = compiled(SHOP).slice("sidecar/shop/lone")
    decision = ask(prepared, request(host="127.0.0.44:7001"), listener=f"{HOST}:80")
    assert clusters(decision) == [(f"outbound|80||{HOST}", 1)]
    raw = prepared.listeners["other.far.svc.cluster.local:7000"]
    assert (raw.protocol, [chain.name for chain in raw.chains]) == ("tcp", ["tcp"])


def test_services_that_are_not_exported_to_a_namespace_are_not_in_its_slices() -> None:
    hidden = SHOP.replace(
        "{name: other, namespace: far}",
        '{name: other, namespace: far, annotations: {networking.istio.io/exportTo: "."}}',
    )
    prepared = compiled(hidden).slice("sidecar/shop/lone")
    assert not [name for name in prepared.clusters if "other.far" in name]


def entry(spec: str, host: str = "api.example.com") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: shop}}
spec: {{hosts: ["{host}"], ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}], {spec}}}
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("resolution: DNS", DnsEndpoints((("api.example.com", 8080),))),
        ("resolution: DNS, endpoints: [{address: a.example, ports: {http: 81}}]", DnsEndpoints((("a.example", 81),))),
        ("resolution: NONE", OriginalDestination()),
        (
            "resolution: STATIC, endpoints: [{address: 10.0.0.1, weight: 3}]",
            StaticEndpoints((Endpoint("10.0.0.1", 8080, 3, namespace="shop"),)),
        ),
    ],
)
def test_a_service_entry_resolves_as_it_says(spec: str, expected: object) -> None:
    cluster = compiled(SHOP, entry(spec)).slice("sidecar/shop/lone").clusters["outbound|80||api.example.com"]
    assert cluster.endpoints == expected
    assert cluster.tls is None


def test_a_wildcard_entry_takes_the_names_below_it() -> None:
    prepared = compiled(SHOP, entry("resolution: NONE", "*.example.com")).slice("sidecar/shop/lone")
    assert clusters(ask(prepared, request(host="a.b.example.com"))) == [("outbound|80||*.example.com", 1)]


def rule(spec: str, *, namespace: str = "shop", name: str = "r", host: str = HOST) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{host: "{host}", {spec}}}
"""


def outbound_cluster(*texts: str, name: str = f"outbound|80||{HOST}", proxy: str = "sidecar/shop/lone") -> object:
    return compiled(SHOP, *texts).slice(proxy).clusters[name]


def test_a_rule_of_the_clients_namespace_comes_before_the_services_and_the_root() -> None:
    client = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: client, namespace: client}\n"
        "spec: {selector: {matchLabels: {app: c}}, template: {metadata: {labels: {app: c}}, spec: {containers: [{name: a, image: a}]}}}\n"
    )
    rules = [
        rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", namespace="istio-system"),
        rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", namespace="shop"),
    ]
    own = rule("trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}", namespace="client")
    proxy = "sidecar/client/client"
    assert getattr(outbound_cluster(client, rules[0], proxy=proxy), "balance", "") == "random"
    assert getattr(outbound_cluster(client, *rules, proxy=proxy), "balance", "") == "round_robin"
    assert getattr(outbound_cluster(client, *rules, own, proxy=proxy), "balance", "") == "least_request"


def test_the_most_specific_host_of_a_namespace_holds() -> None:
    wide = rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", name="a", host="*.svc.cluster.local")
    exact = rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", name="b")
    assert getattr(outbound_cluster(wide, exact), "balance", "") == "round_robin"
    assert getattr(outbound_cluster(wide), "balance", "") == "random"


ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
"""


def test_a_subset_overrides_the_rule_part_by_part() -> None:
    text = rule("""trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}},
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]""")
    cluster = compiled(SHOP, ROUTE, text).slice("sidecar/shop/lone").clusters[f"outbound|80|v1|{HOST}"]
    assert (cluster.balance, cluster.limits.max_connections) == ("round_robin", 7)
    assert cluster.endpoints == RegisteredEndpoints("shop", (("app", "reviews"), ("version", "v1")), 0, "web")


@pytest.mark.parametrize(
    ("written", "hashing"),
    [
        ("httpHeaderName: X-User", ConsistentHash("header", "x-user")),
        ("httpQueryParameterName: User, minimumRingSize: 64", ConsistentHash("query", "User", minimum_ring_size=64)),
        ("useSourceIp: true, ringHash: {minimumRingSize: 9}", ConsistentHash("source_ip", minimum_ring_size=9)),
        ("httpCookie: {name: user}", ConsistentHash("cookie", "user")),
        ("httpCookie: {name: user, ttl: 0s, path: /a}", ConsistentHash("cookie", "user", "/a", 0)),
    ],
)
def test_a_consistent_hash_says_what_is_hashed(written: str, hashing: ConsistentHash) -> None:
    cluster = outbound_cluster(rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{written}}}}}}}"))
    assert (getattr(cluster, "balance", ""), getattr(cluster, "hashing", None)) == ("ring_hash", hashing)


def test_a_subset_with_a_balance_of_its_own_hashes_nothing() -> None:
    text = rule("""trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}},
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]""")
    cluster = compiled(SHOP, ROUTE, text).slice("sidecar/shop/lone").clusters[f"outbound|80|v1|{HOST}"]
    assert (cluster.balance, cluster.hashing) == ("random", None)


def test_rules_of_one_host_add_up_their_subsets() -> None:
    first = rule("subsets: [{name: v1, labels: {version: v1}}]", name="a")
    second = rule("subsets: [{name: v1, labels: {version: v9}}, {name: v2, labels: {version: v2}}]", name="b")
    cluster = compiled(SHOP, ROUTE, first, second).slice("sidecar/shop/lone").clusters[f"outbound|80|v1|{HOST}"]
    assert isinstance(cluster.endpoints, RegisteredEndpoints)
    assert ("version", "v1") in cluster.endpoints.labels


def test_tls_of_a_rule_names_slots_and_never_keys() -> None:
    text = rule(
        "trafficPolicy: {tls: {mode: MUTUAL, credentialName: client, sni: a.example, subjectAltNames: [b.example]}}"
    )
    prepared = compiled(SHOP, text).slice("sidecar/shop/lone")
    tls = prepared.clusters[f"outbound|80||{HOST}"].tls
    assert tls == TlsUpstream("a.example", ("b.example",), "shop/client", "shop/client")
    assert [slot.name for slot in prepared.proxy.credentials] == ["shop/client"]


@pytest.mark.parametrize(
    "target", ["{host: reviews, subset: v9}", "{host: nowhere}", "{host: reviews, port: {number: 81}}"]
)
def test_what_does_not_exist_is_answered_503_and_reported(target: str) -> None:
    route = ROUTE.replace("{host: reviews, subset: v1}", target)
    prepared = compiled(SHOP, route, allow_partial=True).slice("sidecar/shop/lone")
    assert clusters(ask(prepared, request(host="reviews"))) == [("503", 1)]
