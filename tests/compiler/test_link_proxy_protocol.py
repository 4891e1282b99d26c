"""Which gateways expect the PROXY protocol, and which clusters are spoken to with it."""

from __future__ import annotations

import pytest

from snapshot.section import Listener
from tests.compiler.compiled import compiled
from tests.compiler.test_link_sidecars import mesh_config

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
        (", annotations: {proxy.istio.io/config: '{concurrency: 2}'}", False),
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
