"""Endpoints that stand in Git: slices of a service, and workloads outside of Kubernetes."""

from __future__ import annotations

from snapshot.section import MeshUpstream, RegisteredEndpoints, StaticEndpoints
from tests.compiler.compiled import compilation, compiled

CLIENT = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: client, namespace: shop}
spec:
  serviceName: client
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {containers: [{name: a}]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {ports: [{name: tcp-db, port: 5432}, {name: http-admin, port: 80}]}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1]}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: true}}
ports: [{name: tcp-db, port: 6432}]
"""
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec:
  hosts: [vm.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: vm, security.istio.io/tlsMode: istio}, serviceAccount: vm, ports: {http: 9090}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: two, namespace: shop}
spec: {address: 10.1.0.2, labels: {app: vm}, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: other, namespace: far}
spec: {address: 10.1.0.3, labels: {app: vm}}
"""


def endpoints(name: str, *texts: str) -> object:
    return compiled(CLIENT, *texts).slice("sidecar/shop/client").clusters[name].endpoints


def addresses(name: str, *texts: str) -> list[tuple[str, int]]:
    found = endpoints(name, *texts)
    assert isinstance(found, StaticEndpoints)
    return [(endpoint.address, endpoint.port) for endpoint in found.endpoints]


def test_a_slice_lists_the_ready_endpoints_of_the_port_of_its_name() -> None:
    assert addresses("outbound|5432||db.shop.svc.cluster.local", SERVICE, SLICE) == [
        ("10.0.0.1", 6432),
        ("10.0.0.3", 6432),
    ]
    assert addresses("outbound|80||db.shop.svc.cluster.local", SERVICE, SLICE) == []


def test_a_slice_of_no_service_or_of_another_namespace_is_nobodys() -> None:
    for other in (SLICE.replace("service-name: db", "service-name: cache"), SLICE.replace("shop", "far")):
        assert addresses("outbound|5432||db.shop.svc.cluster.local", SERVICE, other) == []


def test_the_old_form_lists_endpoints_under_the_services_name() -> None:
    text = """\
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: shop}
subsets: [{addresses: [{ip: 10.0.0.9}], notReadyAddresses: [{ip: 10.0.0.8}], ports: [{name: tcp-db, port: 1}]}]
"""
    assert addresses("outbound|5432||db.shop.svc.cluster.local", SERVICE, text) == [("10.0.0.9", 1)]


def test_an_endpoint_that_is_a_pod_of_the_mesh_has_its_identity() -> None:
    pod = """\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {serviceAccountName: keeper, containers: [{name: a}]}
status: {podIP: 10.0.0.1}
"""
    found = endpoints("outbound|5432||db.shop.svc.cluster.local", SERVICE, SLICE, pod)
    assert isinstance(found, StaticEndpoints)
    assert [(item.workload, item.mesh, item.identity) for item in found.endpoints] == [
        ("db-0", True, "spiffe://cluster.local/ns/shop/sa/keeper"),
        ("", False, ""),
    ]


def test_a_service_entry_selects_the_workload_entries_of_its_namespace() -> None:
    found = endpoints("outbound|80||vm.example", ENTRY)
    assert isinstance(found, RegisteredEndpoints)
    assert [(item.workload, item.address, item.port, item.weight, item.mesh) for item in found.static] == [
        ("one", "10.1.0.1", 9090, 1, True),
        ("two", "10.1.0.2", 8080, 3, False),
    ]


def test_secure_naming_takes_the_accounts_of_workload_entries() -> None:
    tls = compiled(CLIENT, ENTRY).slice("sidecar/shop/client").clusters["outbound|80||vm.example"].tls
    assert isinstance(tls, MeshUpstream)
    assert tls.identities == ("spiffe://cluster.local/ns/shop/sa/vm",)


def test_a_workload_entry_at_a_name_is_not_carried() -> None:
    named = ENTRY.replace("10.1.0.2", "vm2.example")
    result = compilation(CLIENT, named)
    assert result.snapshot is None
    assert [item.code for item in result.diagnostics] == ["WFT0200"]
    partly = (
        compiled(CLIENT, named, allow_partial=True).slice("sidecar/shop/client").clusters["outbound|80||vm.example"]
    )
    assert isinstance(partly.endpoints, RegisteredEndpoints)
    assert [endpoint.workload for endpoint in partly.endpoints.static] == ["one"]


def test_every_kind_with_a_pod_template_is_a_workload() -> None:
    job = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec: {template: {metadata: {labels: {app: nightly}}, spec: {serviceAccountName: owl, containers: [{name: a}]}}}
"""
    mesh = compiled(CLIENT, job)
    assert mesh.names == ["sidecar/shop/client", "sidecar/shop/nightly"]
    assert mesh.slice("sidecar/shop/nightly").proxy.workload.identity == "spiffe://cluster.local/ns/shop/sa/owl"


def test_workloads_of_two_kinds_and_one_name_have_slices_of_their_own() -> None:
    job = CLIENT.replace("apps/v1", "batch/v1").replace("StatefulSet", "Job").replace("app: client", "app: batch")
    mesh = compiled(CLIENT, job.replace("  serviceName: client\n", ""))
    assert mesh.names == ["sidecar/shop/client", "sidecar/shop/client~statefulset"]
    assert compiled(job.replace("  serviceName: client\n", ""), CLIENT).names == mesh.names
    assert mesh.slice("sidecar/shop/client").proxy.workload.app == "batch"
