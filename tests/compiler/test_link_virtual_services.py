"""VirtualServices as routes: what each field comes to in the decision."""

from __future__ import annotations

import pytest

from policies.match import Exact, PathExact, PathPrefix, PathRegex, Present, Regex
from policies.traffic import (
    Cors,
    DirectResponse,
    Fault,
    FaultAbort,
    FaultDelay,
    Forward,
    HeaderEdits,
    Redirect,
    Retry,
    Rewrite,
)
from snapshot.section import Route, TcpChain
from tests.compiler.compiled import CompiledMesh, ask, clusters, compiled, request

SHOP = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {selector: {app: api}, ports: [{name: http, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: shop}
spec: {selector: {app: raw}, ports: [{name: tcp, port: 7000}, {name: tcp-b, port: 7001}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: blue, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web, color: blue}}, spec: {containers: [{name: a, image: a}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: green, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web, color: green}}, spec: {containers: [{name: a, image: a}]}}
"""
API = "outbound|9090||api.shop.svc.cluster.local"
WEB = "outbound|80||web.shop.svc.cluster.local"
TO_API = "route: [{destination: {host: api}}]"


def virtual_service(rules: str, *, name: str = "v", hosts: str = "[web]", more: str = "", meta: str = "") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop{meta}}}
spec: {{hosts: {hosts}, {more} http: [{rules}]}}
"""


def routes(
    mesh: CompiledMesh, *, table: str = "80", host: str = "web", proxy: str = "sidecar/shop/blue"
) -> list[Route]:
    prepared = mesh.slice(proxy)
    found = prepared.tables[table].find(request(host=host))
    assert found is not None
    return [found.routes[rank].route for rank in sorted(found.routes)]


def one(rule: str) -> Route:
    (route,) = routes(compiled(SHOP, virtual_service(rule)))
    return route


def test_each_match_is_a_route_of_its_own_with_its_own_source() -> None:
    text = virtual_service(f"{{name: r, match: [{{uri: {{exact: /a}}, name: x}}, {{uri: {{prefix: /b}}}}], {TO_API}}}")
    first, second = routes(compiled(SHOP, text))
    assert (first.name, first.source.path, first.match.path) == ("r.x", "spec.http[0].match[0]", PathExact("/a"))
    assert (second.name, second.source.path, second.match.path) == ("r", "spec.http[0].match[1]", PathPrefix("/b"))


def test_rules_keep_their_order() -> None:
    text = virtual_service(
        f"{{match: [{{uri: {{prefix: /}}}}], {TO_API}}}, {{route: [{{destination: {{host: web, port: {{number: 80}}}}}}]}}"
    )
    prepared = compiled(SHOP, text).slice("sidecar/shop/blue")
    assert clusters(ask(prepared, request("/x", host="web"))) == [(API, 1)]


def test_case_is_ignored_where_the_match_says_so() -> None:
    route = one(f"{{match: [{{uri: {{prefix: /A}}, ignoreUriCase: true}}], {TO_API}}}")
    assert route.match.path == PathPrefix("/A", ignore_case=True)


def test_everything_that_a_match_can_ask_is_asked() -> None:
    text = virtual_service(
        "{match: [{uri: {regex: '/[a-z]+'}, method: {exact: GET}, headers: {X-Who: {prefix: j}, x-any: {}}, "
        f"withoutHeaders: {{x-not: {{exact: 'y'}}}}, queryParams: {{q: {{exact: '1'}}}}, authority: {{exact: web}}}}], {TO_API}}}"
    )
    prepared = compiled(SHOP, text).slice("sidecar/shop/blue")
    right = {"x-who": "jane", "x-any": ""}

    def answered(url: str = "/ab?q=1", method: str = "GET", **headers: str) -> bool:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return bool(ask(prepared, request(url, host="web", method=method, headers={**right, **sent})).destinations)

    assert answered()
    assert not answered("/ab?q=2")
    assert not answered("/AB?q=1")
    assert not answered(method="POST")
    assert not answered(x_who="bob")
    assert not answered(x_not="y")
    assert answered(x_not="z")


@pytest.mark.parametrize(
    ("match", "path", "rewrite"),
    [
        ("match: [{uri: {prefix: /a/}}],", PathPrefix("/a/"), Rewrite(prefix="/b/")),
        ("match: [{uri: {exact: /a}}],", PathExact("/a"), Rewrite(path="/b/")),
        ("match: [{uri: {regex: '/a.*'}}],", PathRegex("/a.*"), Rewrite(path="/b/")),
        ("", PathPrefix("/"), Rewrite(prefix="/b/")),
    ],
)
def test_a_rewrite_replaces_what_the_match_was(match: str, path: object, rewrite: Rewrite) -> None:
    route = one(f"{{{match} rewrite: {{uri: /b/}}, {TO_API}}}")
    assert (route.match.path, getattr(route.action, "rewrite", None)) == (path, rewrite)


def test_setting_the_host_header_rewrites_the_authority_and_the_route_wins() -> None:
    rule = (
        "{headers: {request: {set: {Host: route.example}}}, "
        "route: [{destination: {host: api}, headers: {request: {set: {':authority': destination.example, X-A: b}}}}]}"
    )
    prepared = compiled(SHOP, virtual_service(rule)).slice("sidecar/shop/blue")
    decision = ask(prepared, request(host="web"))
    assert decision.authority == "route.example"
    assert decision.destinations[0].request_headers == HeaderEdits(set=(("x-a", "b"),))


def test_an_authority_that_all_destinations_set_is_the_routes() -> None:
    set_host = "headers: {request: {set: {Host: b.example}}}"
    rule = f"{{route: [{{destination: {{host: api}}, weight: 50, {set_host}}}, {{destination: {{host: api}}, weight: 50, {set_host}}}]}}"
    assert getattr(one(rule).action, "rewrite", None) == Rewrite(authority="b.example")


@pytest.mark.parametrize(
    ("asked", "jason", "empty", "absent"),
    [("{exact: jason}", False, True, True), ("{regex: '*'}", False, False, True), ("{regex: .*}", False, False, False)],
)
def test_without_headers_takes_an_absent_header_for_an_empty_one(
    asked: str, *, jason: bool, empty: bool, absent: bool
) -> None:
    text = virtual_service(f"{{match: [{{withoutHeaders: {{end-user: {asked}}}}}], {TO_API}}}")
    prepared = compiled(SHOP, text).slice("sidecar/shop/blue")
    for headers, expected in (({"end-user": "jason"}, jason), ({"end-user": ""}, empty), ({}, absent)):
        assert bool(ask(prepared, request(host="web", headers=headers)).destinations) is expected


def test_header_operations_stay_on_their_level() -> None:
    rule = (
        "{headers: {response: {remove: [X-Gone], add: {x-more: '1'}}}, "
        "route: [{destination: {host: api}, headers: {response: {set: {x-d: e}}}}]}"
    )
    route = one(rule)
    assert route.response_headers == HeaderEdits(remove=("x-gone",), add=(("x-more", "1"),))
    assert getattr(route.action, "destinations", ())[0].response_headers == HeaderEdits(set=(("x-d", "e"),))


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("{uri: /b}", Redirect(path="/b")),
        ("{authority: c.example, redirectCode: 307}", Redirect(status=307, authority="c.example")),
        ("{scheme: https}", Redirect(scheme="https")),
        ("{uri: '%PREFIX()%/x'}", Redirect(prefix="/x")),
        ("{port: 8443, scheme: https}", Redirect(scheme="https", port=8443)),
        ("{derivePort: FROM_REQUEST_PORT, scheme: https}", Redirect(scheme="https", port=80)),
        ("{derivePort: FROM_PROTOCOL_DEFAULT}", Redirect()),
    ],
)
def test_a_redirect_keeps_what_it_does_not_name(redirect: str, expected: Redirect) -> None:
    assert one(f"{{redirect: {redirect}}}").action == expected


def test_a_direct_response_answers_by_itself() -> None:
    assert one("{directResponse: {status: 503, body: {string: closed}}}").action == DirectResponse(503, "closed")
    assert one("{directResponse: {status: 200, body: {bytes: aGk=}}}").action == DirectResponse(200, "hi")


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ("", Retry()),
        ("retries: {attempts: 0},", Retry(attempts=0)),
        ("retries: {attempts: 3, perTryTimeout: 2s},", Retry(attempts=3, per_try_timeout_ms=2000)),
        (
            "retries: {attempts: 1, retryOn: '503, reset'},",
            Retry(attempts=1, on=("reset", "retriable-status-codes"), statuses=(503,)),
        ),
        ("retries: {attempts: 1, retryOn: connect-failure},", Retry(attempts=1, on=("connect-failure",), statuses=())),
    ],
)
def test_retries_start_from_istios_defaults(retries: str, expected: Retry) -> None:
    assert one(f"{{{retries} timeout: 1.5s, {TO_API}}}").retry == expected


def test_authorities_that_differ_are_the_destinations_own() -> None:
    def to(authority: str) -> str:
        return f"{{destination: {{host: api}}, weight: 50, headers: {{request: {{set: {{host: {authority}}}}}}}}}"

    action = one(f"{{route: [{to('a.test')}, {to('b.test')}]}}").action
    assert isinstance(action, Forward)
    assert action.rewrite is None
    assert [item.rewrite for item in action.destinations] == [Rewrite(authority="a.test"), Rewrite(authority="b.test")]
    same = one(f"{{route: [{to('a.test')}, {to('a.test')}]}}").action
    assert isinstance(same, Forward)
    assert same.rewrite == Rewrite(authority="a.test")
    assert [item.rewrite for item in same.destinations] == [None, None]


def test_timeouts_are_off_unless_written() -> None:
    assert one(f"{{{TO_API}}}").timeout_ms == 0
    assert one(f"{{timeout: 1.5s, {TO_API}}}").timeout_ms == 1500


def test_faults_are_shares_of_a_million() -> None:
    fault = (
        "{delay: {fixedDelay: 7s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 50}}}"
    )
    assert one(f"{{fault: {fault}, {TO_API}}}").fault == Fault(FaultDelay(7000, 1000), FaultAbort(200, 500_000, 14))
    assert one(f"{{fault: {{abort: {{httpStatus: 418}}}}, {TO_API}}}").fault == Fault(abort=FaultAbort(418))


def test_one_destination_takes_all_and_several_their_weights() -> None:
    assert [item.weight for item in getattr(one(f"{{{TO_API}}}").action, "destinations", ())] == [1]
    rule = (
        "{route: [{destination: {host: api}, weight: 30}, {destination: {host: web, port: {number: 80}}, weight: 70}]}"
    )
    prepared = compiled(SHOP, virtual_service(rule)).slice("sidecar/shop/blue")
    assert clusters(ask(prepared, request(host="web"))) == [(API, 30), (WEB, 70)]


def test_what_only_some_proxies_may_match_is_resolved_for_each() -> None:
    rules = (
        f"{{match: [{{sourceLabels: {{color: green}}}}], {TO_API}}}, "
        f"{{match: [{{sourceNamespace: far}}], {TO_API}}}, {{match: [{{port: 81}}], {TO_API}}}, "
        "{route: [{destination: {host: web, port: {number: 80}}}]}"
    )
    mesh = compiled(SHOP, virtual_service(rules))
    assert [route.source.path for route in routes(mesh)] == ["spec.http[3]"]
    assert [route.source.path for route in routes(mesh, table="81")] == ["spec.http[2].match[0]", "spec.http[3]"]
    green = routes(mesh, proxy="sidecar/shop/green")
    assert [route.source.path for route in green] == ["spec.http[0].match[0]", "spec.http[3]"]


def test_workloads_whose_labels_do_not_matter_share_their_outbound_sections() -> None:
    mesh = compiled(SHOP, virtual_service(f"{{{TO_API}}}"))
    blue, green = (mesh.slice(f"sidecar/shop/{name}").digests for name in ("blue", "green"))
    assert {key for key in blue if blue[key] != green[key]} == {("proxy", "proxy")}


def test_of_two_for_one_host_the_older_holds_and_priority_comes_before_age() -> None:
    old = virtual_service(f"{{{TO_API}}}", name="z", meta=', creationTimestamp: "2020-01-01T00:00:00Z"')
    new = virtual_service("{redirect: {uri: /b}}", name="a", meta=', creationTimestamp: "2021-01-01T00:00:00Z"')
    assert routes(compiled(SHOP, old, new, allow_partial=True))[0].source.name == "z"
    urgent = virtual_service("{redirect: {uri: /b}}", name="a", meta=', annotations: {weft.dev/priority: "5"}')
    assert routes(compiled(SHOP, old, urgent, allow_partial=True))[0].source.name == "a"


def test_an_exact_host_comes_before_a_wildcard_that_is_older() -> None:
    wide = virtual_service("{redirect: {uri: /b}}", name="a", hosts='["*.shop.svc.cluster.local"]')
    exact = virtual_service(f"{{{TO_API}}}", name="b")
    mesh = compiled(SHOP, wide, exact)
    assert routes(mesh)[0].source.name == "b"
    assert routes(mesh, table="9090", host="api")[0].source.name == "a"


def test_a_host_that_no_service_has_is_served_on_port_80() -> None:
    text = virtual_service(f"{{{TO_API}}}", hosts="[legacy.example.com]")
    prepared = compiled(SHOP, text).slice("sidecar/shop/blue")
    assert clusters(ask(prepared, request(host="legacy.example.com"))) == [(API, 1)]


def test_tcp_rules_send_connections() -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [raw]
  tcp:
  - match: [{port: 7000}]
    route: [{destination: {host: api}, weight: 40}, {destination: {host: raw, port: {number: 7001}}, weight: 60}]
"""
    prepared = compiled(SHOP, text).slice("sidecar/shop/blue")

    def sent(port: int) -> list[tuple[str, int]]:
        network = prepared.listeners[f"raw.shop.svc.cluster.local:{port}"].chains[0].network
        assert isinstance(network, TcpChain)
        return [(item.cluster, item.weight) for item in network.destinations]

    assert sent(7000) == [(API, 40), ("outbound|7001||raw.shop.svc.cluster.local", 60)]
    assert sent(7001) == [("outbound|7001||raw.shop.svc.cluster.local", 1)]
    assert clusters(ask(prepared, request(host="raw:7000", method="CONNECT"))) == sent(7000)


@pytest.mark.parametrize(
    ("address", "subnets", "hit"),
    [
        ("10.9.8.7", "[10.9.0.0/16]", True),
        ("10.9.8.7", "[10.8.0.0/16, 10.9.8.7]", True),
        ("10.9.8.7", "[10.8.0.0/16]", False),
        ("10.9.8.7", "['2001:db8::/32']", False),
        ("None", "[0.0.0.0/0]", False),
    ],
)
def test_destination_subnets_ask_for_the_addresses_of_the_service(address: str, subnets: str, *, hit: bool) -> None:
    services = SHOP.replace("selector: {app: raw}", f"clusterIP: {address}, selector: {{app: raw}}")
    text = f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: shop}}
spec:
  hosts: [raw]
  tcp: [{{match: [{{port: 7000, destinationSubnets: {subnets}}}], route: [{{destination: {{host: api}}}}]}}]
"""
    network = compiled(services, text).slice("sidecar/shop/blue").listeners["raw.shop.svc.cluster.local:7000"].chains[0]
    assert isinstance(network.network, TcpChain)
    assert (network.network.destinations[0].cluster == API) == hit


def test_many_routes_are_kept_in_blocks() -> None:
    rules = ", ".join(f"{{match: [{{uri: {{exact: /{number}}}}}], {TO_API}}}" for number in range(150))
    mesh = compiled(SHOP, virtual_service(rules))
    prepared = mesh.slice("sidecar/shop/blue")
    blocks = [name for kind, name in prepared.digests if kind == "routes" and name.startswith("80/web.shop")]
    assert len(blocks) == 3
    assert clusters(ask(prepared, request("/149", host="web"))) == [(API, 1)]
    assert routes(mesh)[149].match.path == PathExact("/149")


def test_shares_of_requests_are_mirrored_and_a_mirror_that_does_not_exist_gets_none() -> None:
    single = "mirror: {host: two}, mirrorPercentage: {value: 12.5}, route: [{destination: {host: one}}]"
    older = "mirror: {host: two}, mirrorPercent: 30, route: [{destination: {host: one}}]"
    several = "mirrors: [{destination: {host: two}, percentage: {value: 0}}, {destination: {host: one}}], route: [{destination: {host: two}}]"
    two = "outbound|80||two.shop.svc.cluster.local"
    one = "outbound|80||one.shop.svc.cluster.local"

    def mirrors(rule: str) -> list[tuple[str, int]]:
        service = "{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}"
        workload = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, labels: {app: p}}, spec: {containers: [{name: a, image: a}]}}"
        spec = f"{{hosts: [one], http: [{{{rule}}}]}}"
        meta = "apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: shop}"
        rules = f"{{{meta}, spec: {spec}}}"
        prepared = compiled(service % "one", service % "two", workload, rules).slice("sidecar/shop/p")
        decision = ask(prepared, request(host="one"))
        return [(mirror.cluster, mirror.per_million) for mirror in decision.mirrors]

    assert mirrors(single) == [(two, 125_000)]
    assert mirrors(older) == [(two, 300_000)]
    assert mirrors(several) == [(one, 1_000_000)]


def test_a_cors_policy_is_carried_whole() -> None:
    policy = (
        "{allowOrigins: [{exact: 'https://a.test'}, {regex: '.*b'}], allowMethods: [GET, PUT], allowHeaders: [x-a], "
        "exposeHeaders: [x-b], maxAge: 1m, allowCredentials: true, unmatchedPreflights: IGNORE}"
    )
    older = "{allowOrigin: ['*', 'https://a.test']}"
    service = (
        "{apiVersion: v1, kind: Service, metadata: {name: one, namespace: shop}, spec: {ports: [{name: h, port: 80}]}}"
    )
    workload = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, labels: {app: p}}, spec: {containers: [{name: a, image: a}]}}"

    def carried(cors: str) -> Cors | None:
        rule = f"{{corsPolicy: {cors}, route: [{{destination: {{host: one}}}}]}}"
        meta = "apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: shop}"
        mesh = compiled(service, workload, f"{{{meta}, spec: {{hosts: [one], http: [{rule}]}}}}")
        (host,) = (item for item in mesh.slice("sidecar/shop/p").hosts.values() if "one" in item.section.name)
        return host.routes[0].route.cors

    assert carried(policy) == Cors(
        (Exact("https://a.test"), Regex(".*b")), "GET,PUT", "x-a", "x-b", 60, credentials=True, forward_unmatched=False
    )
    assert carried(older) == Cors((Present(), Exact("https://a.test")))
