"""A Gateway of mode AUTO_PASSTHROUGH: mesh TLS goes through by the name of a cluster, for the hosts that it lists."""

from __future__ import annotations

import pytest

from runtime.choosing import choose_tls
from runtime.tls.hello import Hello
from snapshot.section import RegisteredEndpoints, TcpChain
from tests.compiler.compiled import compiled

MESH = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross, namespace: infra}
spec:
  selector: {app: cross}
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    tls: {mode: AUTO_PASSTHROUGH}
    hosts: ["HOST"]
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-raw, port: 7000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  template: {metadata: {labels: {app: reviews, version: v1}}, spec: {containers: [{name: a, image: a}]}}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: far}
spec: {selector: {app: other}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""
REVIEWS = "reviews.shop.svc.cluster.local"
OTHER = "other.far.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "services"),
    [
        ("*.local", {REVIEWS, OTHER}),
        ("*", {REVIEWS, OTHER}),
        ("*.shop.svc.cluster.local", {REVIEWS}),
        ("far/*.local", {OTHER}),
        ("./*.local", set()),
    ],
)
def test_each_port_and_subset_of_the_listed_hosts_has_a_way_through(host: str, services: set[str]) -> None:
    prepared = compiled(MESH.replace("HOST", host)).slice("gateway/app=cross")
    names = {
        name for listener in prepared.listeners.values() for chain in listener.chains for name in chain.server_names
    }
    expected = {f"outbound_.80_._.{OTHER}"} if OTHER in services else set()
    if REVIEWS in services:
        expected |= {f"outbound_.{port}_.{subset}_.{REVIEWS}" for port in (80, 7000) for subset in ("", "v1")}
    assert names == expected


def test_what_goes_through_is_not_touched_and_reaches_the_subset() -> None:
    prepared = compiled(MESH.replace("HOST", "*.local")).slice("gateway/app=cross")
    (listener,) = prepared.listeners.values()
    name = f"outbound_.80_.v1_.{REVIEWS}"
    chain = choose_tls(listener.chains, Hello(name, ("istio-http/1.1", "istio", "http/1.1")))
    assert chain is not None
    assert chain.passthrough
    assert isinstance(chain.network, TcpChain)
    assert [one.cluster for one in chain.network.destinations] == [name]
    cluster = prepared.clusters[name]
    assert (cluster.tls, cluster.protocol) == (None, "tcp")
    assert isinstance(cluster.endpoints, RegisteredEndpoints)
    assert dict(cluster.endpoints.labels) == {"app": "reviews", "version": "v1"}


def test_a_name_that_nobody_has_is_closed() -> None:
    prepared = compiled(MESH.replace("HOST", "*.local")).slice("gateway/app=cross")
    (listener,) = prepared.listeners.values()
    assert choose_tls(listener.chains, Hello(f"outbound_.80_.v9_.{REVIEWS}", ("istio",))) is None


def test_only_who_speaks_the_meshs_protocols_goes_through_and_only_to_who_asks_for_a_certificate() -> None:
    prepared = compiled(MESH.replace("HOST", "*.local")).slice("gateway/app=cross")
    (listener,) = prepared.listeners.values()
    name = f"outbound_.80_.v1_.{REVIEWS}"
    for protocols in ((), ("h2", "http/1.1")):
        assert choose_tls(listener.chains, Hello(name, protocols)) is None
    assert choose_tls(listener.chains, Hello(name, ("istio-http/1.0",))) is not None
    assert all(one.mesh_only for one in prepared.clusters.values() if one.name.startswith("outbound_"))


def test_there_is_no_way_to_workloads_that_do_without_mutual_tls() -> None:
    policy = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {8080: {mode: DISABLE}}}
"""
    prepared = compiled(MESH.replace("HOST", "shop/*.local"), policy).slice("gateway/app=cross")
    names = {name for one in prepared.listeners.values() for chain in one.chains for name in chain.server_names}
    assert names == {f"outbound_.7000_.{subset}_.{REVIEWS}" for subset in ("", "v1")}
