"""What MeshConfig says for routes and resources that say nothing themselves: retries, and to whom they are exported."""

from __future__ import annotations

import pytest

from policies.traffic import Forward, Retry
from snapshot.prepared import PreparedSlice
from tests.compiler.compiled import compiled
from tests.compiler.test_link_sidecars import mesh_config

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: near}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: far}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: said, namespace: far, annotations: {networking.istio.io/exportTo: "*"}}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: far}
spec: {hosts: [out.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: far}
spec: {host: b, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: far}
spec: {hosts: [b], http: [{timeout: 7s, route: [{destination: {host: b}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: near}
spec:
  parentRefs: [{group: "", kind: Service, name: a}]
  rules:
  - {matches: [{path: {value: /plain}}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /timed}}], timeouts: {backendRequest: 3s}, backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /own}}], retry: {attempts: 9}, backendRefs: [{name: a, port: 80}]}
---
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: SPACE}
spec:
  selector: {matchLabels: {app: NAME}}
  template: {metadata: {labels: {app: NAME}}, spec: {containers: [{name: a, image: a, ports: [{containerPort: 80}]}]}}
"""
WORKLOADS = "---\n".join(
    DEPLOYMENT.replace("NAME", name).replace("SPACE", space) for name, space in (("a", "near"), ("b", "far"))
)


def sidecar_of(name: str, config: str = "{}") -> PreparedSlice:
    return compiled(MESH + WORKLOADS, mesh_config(config)).slice(f"sidecar/{name}")


def retries(prepared: PreparedSlice) -> dict[str, Retry | None]:
    """The retries of all routes that lead somewhere, by virtual host and path."""
    found = {}
    for host in prepared.hosts.values():
        for route in host.routes.values():
            if isinstance(route.route.action, Forward):
                path = getattr(route.route.match.path, "value", "")
                found[host.section.name + path] = route.route.retry
    return found


def test_routes_that_say_nothing_are_tried_again_as_the_mesh_says() -> None:
    found = retries(
        sidecar_of("near/a", "{defaultHttpRetryPolicy: {attempts: 4, retryOn: 'reset,503', perTryTimeout: 1s}}")
    )
    asked = Retry(4, ("reset", "retriable-status-codes"), (503,), 1_000)
    assert found["b.far.svc.cluster.local:80"] == asked
    assert found["out.example:80"] == asked
    assert found["a.near.svc.cluster.local:80/plain"] == asked
    timed = found["a.near.svc.cluster.local:80/timed"]
    assert timed is not None
    assert (timed.attempts, timed.per_try_timeout_ms) == (4, 3_000)
    own = found["a.near.svc.cluster.local:80/own"]
    assert own is not None
    assert own.attempts == 9
    assert found["inbound|http|80"] == Retry(attempts=2, on=("reset-before-request",), statuses=())


def test_what_is_tried_again_before_the_application_is_said_apart() -> None:
    found = retries(sidecar_of("near/a", "{defaultInboundHttpRetryPolicy: {attempts: 1}}"))
    assert found["inbound|http|80"] == Retry(attempts=1, on=("reset-before-request",), statuses=())
    assert found["b.far.svc.cluster.local:80"] == Retry()


@pytest.mark.parametrize(
    ("config", "known"),
    [
        ("{}", {"b", "said", "out"}),
        ("{defaultServiceExportTo: ['.']}", {"said"}),
        ("{defaultServiceExportTo: [near, far]}", {"b", "said", "out"}),
        ("{defaultVirtualServiceExportTo: ['.']}", {"b", "said", "out"}),
    ],
)
def test_services_that_do_not_say_it_are_known_to_whom_the_mesh_says(config: str, known: set[str]) -> None:
    clusters = sidecar_of("near/a", config).clusters
    hosts = {name.rpartition("|")[2].partition(".")[0] for name in clusters if name.startswith("outbound|80|")}
    assert hosts == known | {"a"}
    assert "outbound|80||b.far.svc.cluster.local" in sidecar_of("far/b", config).clusters


def test_rules_that_do_not_say_it_hold_for_whom_the_mesh_says() -> None:
    b = "outbound|80||b.far.svc.cluster.local"
    config = "{defaultVirtualServiceExportTo: ['.'], defaultDestinationRuleExportTo: ['.']}"
    for name, asked, balance, timeout_ms in (
        ("near/a", "{}", "random", 7_000),
        ("near/a", config, "least_request", 0),
        ("far/b", config, "random", 7_000),
    ):
        prepared = sidecar_of(name, asked)
        host = next(one for one in prepared.hosts.values() if one.section.name == "b.far.svc.cluster.local:80")
        assert prepared.clusters[b].balance == balance
        assert {route.route.timeout_ms for route in host.routes.values()} == {timeout_ms}
