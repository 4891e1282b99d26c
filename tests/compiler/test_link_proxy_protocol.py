"""Which gateways expect the PROXY protocol, and which clusters are spoken to with it."""

from __future__ import annotations

import pytest

from snapshot.section import Listener
from tests.compiler.compiled import compiled
from tests.compiler.test_link_sidecars import SHOP, mesh_config

EDGE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: infra}
spec:
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}ANNOTATIONS}
    spec: {containers: [{name: a, image: a}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: api, namespace: infra}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
WANTED = "{gatewayTopology: {proxyProtocol: {}}}"


def expects(*texts: str) -> dict[str, set[bool]]:
    mesh = compiled(*texts)
    return {
        name: {one.proxy_protocol for one in mesh.slice(name).listeners.values() if one.direction == "gateway"}
        for name in mesh.names
        if name.startswith("gateway/")
    }


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ("", False),
        (", annotations: {proxy.istio.io/config: '" + WANTED + "'}", True),
        (", annotations: {proxy.istio.io/config: '{terminationDrainDuration: 2s}'}", False),
        (", annotations: {proxy.istio.io/config: 'proxyProtocol: ['}", False),
    ],
)
def test_a_gateways_pods_say_that_connections_begin_with_the_proxy_protocol(
    annotations: str, *, expected: bool
) -> None:
    found = expects(EDGE.replace("ANNOTATIONS", annotations))
    assert found == {"gateway/infra/edge": {expected}, "gateway/infra/api": {False}}


def test_the_mesh_says_it_for_all_gateways_and_for_no_sidecar() -> None:
    config = mesh_config("{defaultConfig: " + WANTED + "}")
    found = expects(EDGE.replace("ANNOTATIONS", ""), config)
    assert found == {"gateway/infra/edge": {True}, "gateway/infra/api": {True}}
    mesh = compiled(EDGE.replace("ANNOTATIONS", ""), config)
    for name in mesh.names:
        for listener in mesh.slice(name).listeners.values():
            assert isinstance(listener, Listener)
            assert listener.proxy_protocol == (listener.direction == "gateway")


RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old, namespace: far}
spec:
  host: HOST
  trafficPolicy: {POLICY}
  subsets: [{name: v1, labels: {version: v1}SUBSET}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: far}
spec:
  hosts: [HOST]
  http:
  - route:
    - {destination: {host: HOST, port: {number: 80}}, weight: 50}
    - {destination: {host: HOST, subset: v1, port: {number: 80}}, weight: 50}
"""


@pytest.mark.parametrize(
    ("policy", "subset", "expected"),
    [
        ("proxyProtocol: {version: V2}", "", {"": "v2", "v1": "v2"}),
        ("proxyProtocol: {}", "", {"": "v1", "v1": "v1"}),
        ("proxyProtocol: {version: V2}", ", trafficPolicy: {proxyProtocol: {version: V1}}", {"": "v2", "v1": "v1"}),
        (
            "proxyProtocol: {version: V2}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]",
            "",
            {"": "v2", "v1": "v2"},
        ),
        ("loadBalancer: {simple: RANDOM}", "", {"": "", "v1": ""}),
    ],
)
def test_a_rule_says_with_which_version_a_hosts_connections_begin(
    policy: str, subset: str, expected: dict[str, str]
) -> None:
    rule = RULE.replace("HOST", "other").replace("POLICY", policy).replace("SUBSET", subset)
    made = compiled(SHOP + "---\n" + rule).slice("sidecar/shop/reviews-v1").clusters
    found = {name: made[f"outbound|80|{name}|other.far.svc.cluster.local"].proxy_protocol for name in ("", "v1")}
    assert found == expected
