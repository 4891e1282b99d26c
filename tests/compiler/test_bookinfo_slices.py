"""Istio's bookinfo files, each unchanged, compile, load, and route as each file says."""

from __future__ import annotations

import pytest

from policies.traffic import FaultAbort, FaultDelay
from tests.compiler.compiled import CompiledMesh, ask, clusters, compiled, conformance, request

APPLICATION = ("platform/kube/bookinfo.yaml", "platform/kube/bookinfo-versions.yaml")
RULES = "networking/destination-rule-all.yaml"
REVIEWS = "outbound|9080|{}|reviews.default.svc.cluster.local"
NETWORKING = [
    "bookinfo-gateway",
    "certmanager-gateway",
    "destination-rule-all",
    "destination-rule-all-mtls",
    "destination-rule-reviews",
    "egress-rule-google-apis",
    "fault-injection-details-v1",
    "virtual-service-all-v1",
    "virtual-service-details-v2",
    "virtual-service-ratings-db",
    "virtual-service-ratings-mysql",
    "virtual-service-ratings-mysql-vm",
    "virtual-service-ratings-test-abort",
    "virtual-service-ratings-test-delay",
    "virtual-service-reviews-50-v3",
    "virtual-service-reviews-80-20",
    "virtual-service-reviews-90-10",
    "virtual-service-reviews-jason-v2-v3",
    "virtual-service-reviews-test-v2",
    "virtual-service-reviews-v2-v3",
    "virtual-service-reviews-v3",
]
GATEWAY_API = ["bookinfo-gateway", "route-all-v1", "route-reviews-50-v3", "route-reviews-90-10", "route-reviews-v1"]
BRINGS_RULES = {
    "destination-rule-all",
    "destination-rule-all-mtls",
    "destination-rule-reviews",
    "fault-injection-details-v1",
}


def bookinfo(*files: str, allow_partial: bool = False) -> CompiledMesh:
    root = conformance("golden", "samples", "bookinfo")
    texts = [(root / file).read_text() for file in (*APPLICATION, *files)]
    return compiled(*texts, allow_partial=allow_partial)


def productpage_asks(mesh: CompiledMesh, service: str, **headers: str) -> list[tuple[str, int]]:
    head = request(
        "/", host=f"{service}:9080", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    return clusters(ask(mesh.slice("sidecar/default/productpage-v1"), head))


@pytest.mark.parametrize("name", NETWORKING)
def test_every_networking_file_compiles_and_its_slices_load(name: str) -> None:
    files = [f"networking/{name}.yaml", *([] if name in BRINGS_RULES else [RULES])]
    # The certificate manager's resolver is installed by the certificate manager, so its route is answered 503 here.
    mesh = bookinfo(*dict.fromkeys(files), allow_partial=name == "certmanager-gateway")
    for slice_name in mesh.names:
        mesh.slice(slice_name)
    assert "sidecar/default/reviews-v3" in mesh.names


@pytest.mark.parametrize("name", [*GATEWAY_API, "route-reviews-v3"])
def test_every_gateway_api_file_compiles_and_its_slices_load(name: str) -> None:
    mesh = bookinfo(f"gateway-api/{name}.yaml")
    for slice_name in mesh.names:
        mesh.slice(slice_name)


def test_without_rules_a_service_is_one_cluster() -> None:
    assert productpage_asks(bookinfo(), "reviews") == [(REVIEWS.format(""), 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all-v1", [("v1", 1)]),
        ("reviews-v3", [("v3", 1)]),
        ("reviews-50-v3", [("v1", 50), ("v3", 50)]),
        ("reviews-80-20", [("v1", 80), ("v2", 20)]),
        ("reviews-90-10", [("v1", 90), ("v2", 10)]),
        ("reviews-v2-v3", [("v2", 50), ("v3", 50)]),
    ],
)
def test_virtual_services_weigh_the_subsets_of_reviews(name: str, expected: list[tuple[str, int]]) -> None:
    mesh = bookinfo(f"networking/virtual-service-{name}.yaml", RULES)
    assert productpage_asks(mesh, "reviews") == [(REVIEWS.format(subset), weight) for subset, weight in expected]


@pytest.mark.parametrize(
    ("name", "jason", "others"), [("reviews-jason-v2-v3", "v2", "v3"), ("reviews-test-v2", "v2", "v1")]
)
def test_a_header_chooses_the_subset(name: str, jason: str, others: str) -> None:
    mesh = bookinfo(f"networking/virtual-service-{name}.yaml", RULES)
    assert productpage_asks(mesh, "reviews", end_user="jason") == [(REVIEWS.format(jason), 1)]
    assert productpage_asks(mesh, "reviews", end_user="anna") == [(REVIEWS.format(others), 1)]


def test_faults_hold_for_jason_alone() -> None:
    for name, delay, abort in (
        ("delay", FaultDelay(7000), None),
        ("abort", None, FaultAbort(500)),
    ):
        mesh = bookinfo(f"networking/virtual-service-ratings-test-{name}.yaml", RULES)
        slice_ = mesh.slice("sidecar/default/reviews-v2")
        fault = ask(slice_, request(host="ratings:9080", headers={"end-user": "jason"})).fault
        assert fault is not None
        assert (fault.delay, fault.abort) == (delay, abort)
        assert ask(slice_, request(host="ratings:9080")).fault is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/productpage", "outbound|9080||productpage.default.svc.cluster.local"),
        ("/static/jquery.js", "outbound|9080||productpage.default.svc.cluster.local"),
        ("/api/v1/products/0", "outbound|9080||productpage.default.svc.cluster.local"),
        ("/productpage/x", None),
        ("/", None),
    ],
)
def test_both_gateways_expose_the_same_paths(path: str, expected: str | None) -> None:
    istio = bookinfo("networking/bookinfo-gateway.yaml").slice("gateway/istio=ingressgateway")
    api = bookinfo("gateway-api/bookinfo-gateway.yaml").slice("gateway/default/bookinfo-gateway")
    for prepared, listener in ((istio, "gateway:8080"), (api, "gateway:80")):
        decision = ask(prepared, request(path, host="203.0.113.5"), listener=listener)
        if expected is None:
            assert decision.reply is not None
            assert decision.reply.status == 404
        else:
            assert clusters(decision) == [(expected, 1)]


def test_mesh_routes_of_gateway_api_weigh_services() -> None:
    mesh = bookinfo("gateway-api/route-reviews-90-10.yaml")
    assert productpage_asks(mesh, "reviews") == [
        ("outbound|9080||reviews-v1.default.svc.cluster.local", 90),
        ("outbound|9080||reviews-v2.default.svc.cluster.local", 10),
    ]


def test_egress_to_an_external_host_originates_tls_on_the_rules_port() -> None:
    prepared = bookinfo("networking/egress-rule-google-apis.yaml").slice("sidecar/default/details-v1")
    decision = ask(prepared, request(host="www.googleapis.com"))
    assert clusters(decision) == [("outbound|443||www.googleapis.com", 1)]
    cluster = prepared.clusters["outbound|443||www.googleapis.com"]
    # A port's settings replace the rule's and inherit nothing, so the balance is the default.
    assert (type(cluster.tls).__name__, cluster.protocol, cluster.balance) == ("TlsUpstream", "http1", "least_request")


def test_mutual_tls_of_a_rule_is_not_left_to_what_endpoints_offer() -> None:
    prepared = bookinfo("networking/destination-rule-all-mtls.yaml").slice("sidecar/default/productpage-v1")
    tls = prepared.clusters["outbound|9080||reviews.default.svc.cluster.local"].tls
    assert type(tls).__name__ == "MeshUpstream"
    assert not getattr(tls, "auto", True)
    assert getattr(tls, "identities", ()) == ("spiffe://cluster.local/ns/default/sa/bookinfo-reviews",)
