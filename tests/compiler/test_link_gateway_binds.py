"""Servers of a Gateway that listen on one address of the machine (``bind``)."""

from __future__ import annotations

from runtime.bootstrap import Bootstrap
from snapshot.index import Selector
from snapshot.section import GatewayPort, Listener, WorkloadPort
from tests.compiler.compiled import ask, compiled, request

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: infra}
spec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: admin-http, port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: outside, namespace: infra}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: inside, namespace: infra}
spec:
  selector: {app: edge}
  servers: [{bind: 127.0.0.9, port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
"""
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: GATEWAY, namespace: infra}
spec: {hosts: ["*"], gateways: [GATEWAY], http: [{route: [{destination: {host: a, port: {number: PORT}}}]}]}
---
"""


def route(gateway: str, port: int) -> str:
    return ROUTE.replace("GATEWAY", gateway).replace("PORT", str(port))


def test_two_gateways_with_one_port_on_two_addresses_are_two_listeners_with_routes_of_their_own() -> None:
    prepared = compiled(MESH + route("outside", 80) + route("inside", 81)).slice("gateway/app=edge")
    binds = {name: listener.bind for name, listener in prepared.listeners.items() if isinstance(listener, Listener)}
    assert binds == {"gateway:80": GatewayPort(80), "gateway:80@127.0.0.9": GatewayPort(80, address="127.0.0.9")}
    found = {
        name: [one.cluster for one in ask(prepared, request(host="x.test"), listener=name).destinations]
        for name in binds
    }
    assert found == {
        "gateway:80": ["outbound|80||a.infra.svc.cluster.local"],
        "gateway:80@127.0.0.9": ["outbound|81||a.infra.svc.cluster.local"],
    }


def test_the_machine_binds_them_where_they_ask_and_may_still_map_the_port() -> None:
    bootstrap = Bootstrap(Selector(), "", "", "", address="10.0.0.1", port_map={"80": 8080})
    assert bootstrap.resolve(GatewayPort(80)) == bootstrap.resolve(WorkloadPort(80)) == ("10.0.0.1", 8080)
    assert bootstrap.resolve(GatewayPort(80, address="127.0.0.9")) == ("127.0.0.9", 8080)
    assert bootstrap.resolve(GatewayPort(81, address="::1")) == ("::1", 81)
