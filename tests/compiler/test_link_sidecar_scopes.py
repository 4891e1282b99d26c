"""What a Sidecar keeps out of a slice, and what it leaves: hosts, rules, destinations of rules, and requests to hosts that are not known."""

from __future__ import annotations

import pytest

from snapshot.section import RouteTable
from tests.compiler.compiled import CompiledMesh, ask, clusters, compilation, compiled, request

SERVICES = "\n".join(
    f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80}}]
---"""
    for name, namespace in (("a", "shop"), ("b", "shop"), ("c", "far"), ("d", "far"))
)
WORKLOADS = "\n".join(
    f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: a, image: a}}]}}
---"""
    for name, namespace in (("a", "shop"), ("b", "shop"), ("c", "far"))
)
MESH = f"{SERVICES}\n{WORKLOADS}"
EXTERNAL = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: world, namespace: far}
spec:
  hosts: ["*.example.com", api.example.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
"""


def sidecar(
    *hosts: str, namespace: str = "shop", name: str = "default", app: str = "", mode: str = "", policy: str = ""
) -> str:
    listed = ", ".join(f'"{host}"' for host in hosts)
    lines = [
        "apiVersion: networking.istio.io/v1",
        "kind: Sidecar",
        f"metadata: {{name: {name}, namespace: {namespace}}}",
        "spec:",
        *([f"  workloadSelector: {{labels: {{app: {app}}}}}"] if app else []),
        *([f"  egress: [{{hosts: [{listed}]}}]"] if hosts else []),
        *([f"  outboundTrafficPolicy: {{mode: {mode}}}"] if mode else []),
        *([f"  outboundTrafficPolicy: {policy}"] if policy else []),
    ]
    return "\n".join(lines) + "\n"


def known(mesh: CompiledMesh, name: str = "sidecar/shop/a") -> list[str]:
    """The hosts that a slice listens for, by their short names; a pattern has no listener of its own."""
    names = [listener.name for listener in mesh.slice(name).listeners.values() if listener.direction == "outbound"]
    return sorted(
        item.removesuffix(":80").removesuffix(".svc.cluster.local") for item in names if item != "virtualOutbound"
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("*/*",), ["a.shop", "api.example.org", "b.shop", "c.far", "d.far"]),
        (("./*",), ["a.shop", "b.shop"]),
        (("far/*",), ["api.example.org", "c.far", "d.far"]),
        (("./*", "far/c.far.svc.cluster.local"), ["a.shop", "b.shop", "c.far"]),
        (("*/c.far.svc.cluster.local",), ["c.far"]),
        (("shop/c.far.svc.cluster.local",), []),
        (("*/*.far.svc.cluster.local",), ["c.far", "d.far"]),
        (("~/*",), []),
        (("*/*", "~far/*"), ["a.shop", "b.shop"]),
        (("*/*", "~/c.far.svc.cluster.local", "~/api.example.org"), ["a.shop", "b.shop", "d.far"]),
        (("*/*", "~shop/c.far.svc.cluster.local"), ["a.shop", "api.example.org", "b.shop", "c.far", "d.far"]),
        (("far/c.far.svc.cluster.local", "~far/*"), []),
    ],
)
def test_egress_hosts_say_which_services_a_slice_holds(hosts: tuple[str, ...], expected: list[str]) -> None:
    assert known(compiled(MESH, EXTERNAL, sidecar(*hosts))) == expected


def test_without_egress_every_host_is_known() -> None:
    assert known(compiled(MESH, sidecar(mode="REGISTRY_ONLY"))) == ["a.shop", "b.shop", "c.far", "d.far"]


def test_a_selector_wins_over_the_namespace_and_the_namespace_over_the_root() -> None:
    mesh = compiled(
        MESH,
        sidecar("./*", namespace="istio-system"),
        sidecar("far/*"),
        sidecar("./b.shop.svc.cluster.local", name="own", app="a"),
    )
    assert known(mesh, "sidecar/shop/a") == ["b.shop"]
    assert known(mesh, "sidecar/shop/b") == ["c.far", "d.far"]
    assert known(mesh, "sidecar/far/c") == ["c.far", "d.far"]


def test_the_own_namespace_of_the_root_namespaces_sidecar_is_the_proxys() -> None:
    mesh = compiled(MESH, sidecar("./*", namespace="istio-system"))
    assert known(mesh, "sidecar/shop/a") == ["a.shop", "b.shop"]
    assert known(mesh, "sidecar/far/c") == ["c.far", "d.far"]


def test_a_selector_in_the_root_namespace_reaches_no_other_namespace() -> None:
    mesh = compiled(MESH, sidecar("~/*", namespace="istio-system", app="a"))
    assert known(mesh) == ["a.shop", "b.shop", "c.far", "d.far"]


def test_a_wildcard_entry_is_known_only_where_its_whole_pattern_is() -> None:
    whole = compiled(MESH, EXTERNAL, sidecar("*/*.example.com", mode="REGISTRY_ONLY"))
    part = compiled(MESH, EXTERNAL, sidecar("*/api.example.com", mode="REGISTRY_ONLY"))
    head = request(host="api.example.com")
    assert clusters(ask(whole.slice("sidecar/shop/a"), head)) == [("outbound|80||*.example.com", 1)]
    assert clusters(ask(part.slice("sidecar/shop/a"), head)) == []


ROUTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop}
spec:
  hosts: [b]
  http: [{route: [{destination: {host: d.far.svc.cluster.local}}]}]
"""


def test_a_rule_leads_to_a_host_that_clients_do_not_know() -> None:
    mesh = compiled(MESH, ROUTED, sidecar("./*", mode="REGISTRY_ONLY"))
    prepared = mesh.slice("sidecar/shop/a")
    assert clusters(ask(prepared, request(host="b"))) == [("outbound|80||d.far.svc.cluster.local", 1)]
    assert clusters(ask(prepared, request(host="d.far"))) == []


def test_rules_of_a_namespace_that_is_kept_out_do_not_hold() -> None:
    elsewhere = ROUTED.replace("namespace: shop", "namespace: far").replace("[b]", "[b.shop.svc.cluster.local]")
    head = request(host="b")
    with_it = compiled(MESH, elsewhere)
    without = compiled(MESH, elsewhere, sidecar("./*"))
    assert clusters(ask(with_it.slice("sidecar/shop/a"), head)) == [("outbound|80||d.far.svc.cluster.local", 1)]
    assert clusters(ask(without.slice("sidecar/shop/a"), head)) == [("outbound|80||b.shop.svc.cluster.local", 1)]


@pytest.mark.parametrize(("hosts", "holds"), [(("shop/*.shop.svc.cluster.local",), True), (("far/*",), False)])
def test_a_wildcard_rule_holds_where_it_and_the_egress_have_hosts_in_common(
    hosts: tuple[str, ...], *, holds: bool
) -> None:
    wide = ROUTED.replace("[b]", '["*.svc.cluster.local"]')
    mesh = compiled(MESH, wide, sidecar(*hosts, "far/c.far.svc.cluster.local"))
    found = clusters(ask(mesh.slice("sidecar/shop/a"), request(host="c.far")))
    assert found == [(f"outbound|80||{'d' if holds else 'c'}.far.svc.cluster.local", 1)]


GAMMA = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: b, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: b}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
"""


def test_routes_of_the_gateway_api_hold_for_known_services_alone() -> None:
    head = request(host="b.shop")
    near = compiled(MESH, GAMMA, sidecar("./*")).slice("sidecar/shop/a")
    far = compiled(MESH, GAMMA, sidecar("far/*", mode="REGISTRY_ONLY")).slice("sidecar/shop/a")
    assert clusters(ask(near, head)) == [("outbound|80||a.shop.svc.cluster.local", 1)]
    assert clusters(ask(far, head)) == []


@pytest.mark.parametrize(
    ("mesh_mode", "written", "expected"),
    [
        ("ALLOW_ANY", "", "PassthroughCluster"),
        ("ALLOW_ANY", "{mode: REGISTRY_ONLY}", "BlackHoleCluster"),
        ("ALLOW_ANY", "{}", "BlackHoleCluster"),
        ("REGISTRY_ONLY", "", "BlackHoleCluster"),
        ("REGISTRY_ONLY", "{mode: ALLOW_ANY}", "PassthroughCluster"),
    ],
)
def test_the_sidecars_policy_for_unknown_hosts_wins_over_the_meshs(mesh_mode: str, written: str, expected: str) -> None:
    config = (
        f"apiVersion: weft/v1\nkind: MeshConfig\nmetadata: {{name: m}}\n"
        f"spec: {{outboundTrafficPolicy: {{mode: {mesh_mode}}}}}\n"
    )
    prepared = compiled(MESH, config, sidecar("./*", policy=written)).slice("sidecar/shop/a")
    found = (section for section in prepared.sections.values() if isinstance(section, RouteTable))
    tables = [table for table in found if table.name in ("80", "virtualOutbound")]
    assert {table.unmatched for table in tables} == {expected}
    assert {table.source.kind for table in tables} == {"Sidecar" if written else "MeshConfig"}


def test_what_a_workload_accepts_does_not_depend_on_what_it_knows() -> None:
    with_it, without = compiled(MESH, sidecar("~/*")), compiled(MESH)
    for mesh in (with_it, without):
        assert ("inbound|80", "plain-http") in mesh.slice("sidecar/shop/a").chains


def test_what_is_kept_out_leaves_no_trace_in_the_slice() -> None:
    def behaviour(*texts: str) -> str:
        mesh = compiled(*texts)
        return next(item for item in mesh.snapshot.index.slices if item.name == "sidecar/shop/a").behaviour

    scope = sidecar("./*")
    assert behaviour(MESH, scope) == behaviour(MESH, EXTERNAL, scope)
    assert behaviour(MESH) != behaviour(MESH, EXTERNAL)


def test_gateways_know_what_sidecars_do_not() -> None:
    gateway = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [istio-system/edge]
  http: [{route: [{destination: {host: c.far.svc.cluster.local}}]}]
"""
    mesh = compiled(MESH, gateway, sidecar("~/*", namespace="istio-system"))
    prepared = mesh.slice("gateway/istio=ingressgateway")
    decision = ask(prepared, request(host="shop.example"), listener="gateway:80")
    assert clusters(decision) == [("outbound|80||c.far.svc.cluster.local", 1)]


def test_what_of_a_sidecar_is_not_carried_is_said() -> None:
    tls = "{mode: SIMPLE, serverCertificate: /c, privateKey: /k, insecureSkipVerify: true}"
    ingress = f"  ingress: [{{port: {{number: 9443, protocol: HTTPS, name: https}}, tls: {tls}}}]\n"
    found = [item for item in compilation(MESH, sidecar("./*") + ingress).diagnostics if item.code == "WFT0200"]
    assert ["spec.ingress[0].tls.insecureSkipVerify" in item.message for item in found] == [True]
