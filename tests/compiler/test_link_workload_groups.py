"""WorkloadGroup: a slice for its machines, which find their services and policies by labels, and the probe of their application."""

from __future__ import annotations

import pytest

from policies.probe import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe
from snapshot.index import Selector, select
from snapshot.section import WorkloadPort
from tests.compiler.compiled import CompiledMesh, compiled

MESH = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vm, namespace: shop}
spec:
  metadata: {labels: {tier: old, app: other}}
  template: {labels: {app: db}, serviceAccount: database, ports: {tcp-db: 6432, http: 8080}}
%s
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: db}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: shop}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {containers: [{name: a}]}
"""


def mesh(probe: str = "") -> CompiledMesh:
    return compiled(MESH % (f"  probe: {probe}" if probe else ""))


def test_the_machines_of_a_group_have_a_slice_that_they_find_by_their_labels() -> None:
    made = mesh()
    labels = (("app", "db"), ("tier", "old"))
    entry = select(made.snapshot.index, Selector(namespace="shop", labels=labels))
    assert entry is not None
    workload = made.slice(entry.name).proxy.workload
    assert (workload.app, workload.identity) == ("db", "spiffe://cluster.local/ns/shop/sa/database")
    binds = [one.bind for one in made.slice(entry.name).listeners.values()]
    assert WorkloadPort(8080) in binds


def test_clients_find_the_machines_by_the_services_selector_and_their_identity() -> None:
    made = mesh()
    client = next(name for name in made.names if "client" in name)
    cluster = made.slice(client).clusters["outbound|80||db.shop.internal"]
    assert cluster.tls is not None
    assert cluster.tls.identities == ("spiffe://cluster.local/ns/shop/sa/database",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("written", "probe"),
    [
        ("{httpGet: {port: 8080}}", Probe(HttpProbe(8080))),
        (
            """{httpGet: {port: 8080, path: /healthz, host: 127.0.0.9, scheme: HTTPS, httpHeaders: [{name: a, value: b}]},
            initialDelaySeconds: 1, periodSeconds: 2, timeoutSeconds: 3, successThreshold: 4, failureThreshold: 5}""",
            Probe(HttpProbe(8080, "/healthz", "127.0.0.9", True, (("a", "b"),)), 1000, 2000, 3000, 4, 5),
        ),
        ("{tcpSocket: {port: 6432}}", Probe(TcpProbe(6432))),
        ("{grpc: {port: 9000, service: shop}}", Probe(GrpcProbe(9000, "shop"))),
        ("{exec: {command: [test, -e, /ready]}}", Probe(ExecProbe(("test", "-e", "/ready")))),
        ("", None),
    ],
)
def test_the_probe_is_what_the_group_says(written: str, probe: Probe | None) -> None:
    made = mesh(written)
    group = next(name for name in made.names if "vm" in name)
    assert made.slice(group).proxy.probe == probe
