"""RateLimit: which routes of which slices get which limits."""

from __future__ import annotations

import pytest

from compiler.diagnostic import Severity
from policies.limits import LimitKey, RateLimit
from policies.match import Exact, HeaderMatch, PathPrefix, Regex, RouteMatch
from tests.compiler.compiled import CompiledMesh, ask, compilation, compiled, request

SERVICES = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: http-admin, port: 81, targetPort: 8081}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a}]}}
"""
GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: weft
  listeners: [{name: one, port: 80, protocol: HTTP}, {name: two, port: 81, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
    - {name: api, matches: [{path: {value: /api}}], backendRefs: [{name: web, port: 80}]}
    - {backendRefs: [{name: web, port: 80}]}
"""
ISTIO = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec: {selector: {istio: door}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [web]
  gateways: [door, mesh]
  http:
    - {name: paid, match: [{uri: {prefix: /paid}}], route: [{destination: {host: web, port: {number: 80}}}]}
    - {route: [{destination: {host: web, port: {number: 80}}}]}
"""


def rate_limit(target: str, *, name: str = "l", limits: str = "[{requests: 5, per: 1s}]", rest: str = "") -> str:
    return f"""\
apiVersion: weft/v1
kind: RateLimit
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{target}], limits: {limits}{rest}}}
"""


def limits_of(mesh: CompiledMesh, name: str, path: str, **where: str) -> list[str]:
    decision = ask(mesh.slice(name), request(path, host="web.shop.svc.cluster.local"), **where)
    return [one.limit.source.name for one in decision.limits]


def test_a_routes_limit_holds_for_the_rule_that_it_names_or_for_all() -> None:
    target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}"
    section = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: api}"
    mesh = compiled(SERVICES, GATEWAY, rate_limit(target, name="all"), rate_limit(section, name="part"))
    at = {"listener": "gateway:80", "chain": "http"}
    assert limits_of(mesh, "gateway/shop/edge", "/api/x", **at) == ["all", "part"]
    assert limits_of(mesh, "gateway/shop/edge", "/x", **at) == ["all"]


def test_a_gateways_limit_holds_for_the_listener_that_it_names_or_for_all() -> None:
    target = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}"
    section = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: two}"
    mesh = compiled(SERVICES, GATEWAY, rate_limit(target, name="all"), rate_limit(section, name="part"))
    name = "gateway/shop/edge"
    assert limits_of(mesh, name, "/x", listener="gateway:80", chain="http") == ["all"]
    assert limits_of(mesh, name, "/x", listener="gateway:81", chain="http") == ["all", "part"]


def test_a_virtual_services_limit_holds_at_its_gateways_and_in_sidecars() -> None:
    target = "{group: networking.istio.io, kind: VirtualService, name: v, sectionName: paid}"
    gateway = "{group: networking.istio.io, kind: Gateway, name: door}"
    mesh = compiled(SERVICES, ISTIO, rate_limit(target, name="v"), rate_limit(gateway, name="door"))
    door = next(name for name in mesh.names if name.startswith("gateway/"))
    at = {"listener": "gateway:80", "chain": "http"}
    assert limits_of(mesh, door, "/paid", **at) == ["door", "v"]
    assert limits_of(mesh, door, "/x", **at) == ["door"]
    assert limits_of(mesh, "sidecar/shop/web", "/paid", listener="virtualOutbound", chain="http") == ["v"]


def test_a_services_limit_holds_at_its_workloads_for_the_port_that_it_names_or_for_all() -> None:
    section = "{kind: Service, name: web, sectionName: http-admin}"
    mesh = compiled(SERVICES, rate_limit("{kind: Service, name: web}", name="all"), rate_limit(section, name="part"))
    name = "sidecar/shop/web"
    assert limits_of(mesh, name, "/x", listener="inbound|8080", chain="plain-http") == ["all"]
    assert limits_of(mesh, name, "/x", listener="inbound|8081", chain="plain-http") == ["all", "part"]
    assert limits_of(mesh, name, "/x", listener="virtualOutbound", chain="http") == []


def test_everything_that_is_written_is_carried() -> None:
    limits = """[{requests: 100, per: 1m, burst: 20,
      match: {path: {prefix: /api}, method: POST, headers: {X-Plan: {exact: free}}, identity: {regex: ".*/sa/web"}},
      by: [{type: Identity}, {type: Header, name: X-User}, {type: SourceAddress}, {type: Path}]}]"""
    rest = ", status: 503, responseHeaders: true"
    mesh = compiled(SERVICES, rate_limit("{kind: Service, name: web}", limits=limits, rest=rest))
    inbound = mesh.slice("sidecar/shop/web").hosts["virtual_host", "inbound|8080/inbound|http|8080"]
    (limit,) = inbound.routes[0].route.limits
    match = RouteMatch(path=PathPrefix("/api"), method=Exact("POST"), headers=(HeaderMatch("x-plan", Exact("free")),))
    by = (LimitKey("identity"), LimitKey("header", "x-user"), LimitKey("source"), LimitKey("path"))
    assert limit == RateLimit(limit.source, 100, 60_000, 20, match, Regex(".*/sa/web"), by, 503, headers=True)
    assert str(limit.source) == "RateLimit/shop/l#spec.limits[0]"


def test_a_target_that_does_not_exist_is_found() -> None:
    result = compilation(SERVICES, rate_limit("{kind: Service, name: wbe}"))
    assert [(item.code, item.message) for item in result.diagnostics if item.code == "IST0101"] == [
        ("IST0101", "Service `wbe` does not exist in namespace shop; there is web")
    ]


@pytest.mark.parametrize(
    ("target", "limits", "message"),
    [
        ("{kind: Deployment, name: web}", "[{requests: 5, per: 1s}]", "a limit is for a Gateway"),
        ("{kind: Service, name: web}", "[{requests: 0, per: 1s}]", "requests"),
        ("{kind: Service, name: web}", "[{requests: 1, per: soon}]", "duration"),
        ("{kind: Service, name: web}", "[{requests: 1, per: 1s, by: [{type: Header}]}]", "`name` is the header's"),
        ("{kind: Service, name: web}", "[{requests: 1, per: 1s, by: [{type: Method, name: x}]}]", "`name` is the"),
    ],
)
def test_what_cannot_be_meant_is_an_error(target: str, limits: str, message: str) -> None:
    result = compilation(SERVICES, rate_limit(target, limits=limits))
    errors = [item.message for item in result.diagnostics if item.severity is Severity.ERROR]
    assert any(message in one for one in errors), errors


def test_a_broken_limit_stands_for_a_very_low_one_where_the_rest_is_published() -> None:
    broken = rate_limit("{kind: Service, name: web}", limits="[{requests: many, per: 1s}]")
    mesh = compiled(SERVICES, broken, allow_partial=True)
    decision = ask(
        mesh.slice("sidecar/shop/web"), request("/", host="web"), listener="inbound|8080", chain="plain-http"
    )
    assert [(one.limit.requests, one.limit.interval_ms) for one in decision.limits] == [(1, 31_536_000_000)]
