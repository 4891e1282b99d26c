"""Transparent proxying: the application behind a sidecar of either engine sees the addresses of its clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.compiler.compiled import compiled
from tests.namespaces import Namespace, require_namespaces
from tests.pods import TRANSPARENT, Lan, Sidecar, Store, call, redirect, serve

POD, PEER, OTHER = "10.1.0.2", "10.1.0.1", "10.1.0.3"
POD6, PEER6 = "fd00:1::2", "fd00:1::1"
MESH = """
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90, targetPort: 9000}]
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: ["/denied"], ports: ["8080"]}}]}]}
"""


@pytest.fixture(scope="module", params=["trio", "envoy"])
def pods(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """A pod with a sidecar, and two clients beside it."""
    require_namespaces()
    folder = tmp_path_factory.mktemp("pods")
    lan = Lan()
    try:
        pod = lan.pod(f"{POD}/24", f"{POD6}/64", gateway=[PEER, PEER6])
        peer = lan.pod(f"{PEER}/24", f"{PEER6}/64")
        other = lan.pod(f"{OTHER}/24")
        redirect(pod, TRANSPARENT, folder)
        any_address = ("0.0.0.0", "::")
        serve(
            pod,
            *(("http", host, port, "app") for host in any_address for port in (8080, 81)),
            ("greet", POD, 9000, "app"),
        )
        serve(peer, ("http", PEER, 8001, "peer"))
        store = Store(folder)
        snapshot = compiled(MESH).snapshot
        store.publish(snapshot)
        Sidecar(pod, store, "sidecar/shop/app", request.param, mode="tproxy").wait_serving(snapshot)
        yield pod, peer, other
    finally:
        lan.end()


def asked(pod: Namespace, host: str, port: int, path: str = "/", kind: str = "http") -> dict[str, Any]:
    """What became of one call."""
    (made,) = call(pod, [{"kind": kind, "to": [host, port], "host": "app", "path": path}])
    return made


@pytest.mark.integration
@pytest.mark.parametrize(("host", "client"), [(POD, PEER), (POD6, PEER6)])
@pytest.mark.parametrize("port", [8080, 81])
def test_the_application_sees_its_client(
    pods: tuple[Namespace, Namespace, Namespace], host: str, client: str, port: int
) -> None:
    seen = asked(pods[1], host, port)["seen"]
    assert (seen["from"], seen["at"]) == (client, host)


@pytest.mark.integration
def test_clients_do_not_share_connections_to_the_application(pods: tuple[Namespace, Namespace, Namespace]) -> None:
    _, peer, other = pods
    found = [asked(one, POD, 8080)["seen"]["from"] for one in (peer, other, peer, other)]
    assert found == [PEER, OTHER, PEER, OTHER]


@pytest.mark.integration
def test_connections_of_bytes_bear_the_clients_address_too(pods: tuple[Namespace, Namespace, Namespace]) -> None:
    assert asked(pods[1], POD, 9000, kind="greet") == {"got": f"app greets {PEER}\n"}


@pytest.mark.integration
def test_policies_hold_and_the_proxys_own_ports_are_refused(pods: tuple[Namespace, Namespace, Namespace]) -> None:
    assert asked(pods[1], POD, 8080, "/denied")["status"] == 403
    assert [asked(pods[1], POD, port) for port in (15001, 15006)] == [{"error": "closed"}] * 2


@pytest.mark.integration
def test_what_goes_out_is_redirected_as_ever(pods: tuple[Namespace, Namespace, Namespace]) -> None:
    assert asked(pods[0], PEER, 8001)["seen"]["name"] == "peer"
