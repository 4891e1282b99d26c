"""Each of weft's own findings at its edge: the neighbour of a mistake that is none, and the mistake in another guise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compiler.dates import Dates
from compiler.diagnostic import Diagnostic
from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.compiler.catalog_cases import NOW
from tests.compiler.kinds_in_yaml import deployment, document, service

ISTIO, SECURITY, API = "networking.istio.io/v1", "security.istio.io/v1", "gateway.networking.k8s.io/v1"
ROUTE = "[{destination: {host: web}}]"
WEB = service("web", "[{name: http, port: 80}]") + deployment("web")


def found(*texts: str, code: str) -> list[Diagnostic]:
    files = {f"{number}.yaml": text.encode() for number, text in enumerate((WEB, *texts))}
    return [item for item in check(MemoryTree(files), Dates(NOW)) if item.code == code]


def virtual_service(spec: str, name: str = "v") -> str:
    return document(ISTIO, "VirtualService", name, spec)


def rules(*matches: str, gateways: str = "", hosts: str = "[web]") -> str:
    http = ", ".join(f"{{match: {match}, route: {ROUTE}}}" for match in matches)
    return virtual_service(f"{{hosts: {hosts}, {gateways}http: [{http}]}}")


# --- shadowed rules ----------------------------------------------------------------------------------------------------------

GATEWAYS = "gateways: [mesh, edge], "


@pytest.mark.parametrize(
    ("text", "shadowed"),
    [
        (rules("[{gateways: [mesh]}]", "[{gateways: [edge]}]", "[{uri: {prefix: /a}}]", gateways=GATEWAYS), True),
        (rules("[{gateways: [mesh]}]", "[{gateways: [shop/edge]}]", "[{uri: {prefix: /a}}]", gateways=GATEWAYS), True),
        (rules("[{gateways: [mesh]}]", "[{uri: {prefix: /a}}]", gateways=GATEWAYS), False),
        (rules("[{gateways: [mesh]}]", "[{uri: {prefix: /a}}]"), True),
        (rules("[{port: 80}]", "[{port: 81}]", "[{uri: {prefix: /a}}]"), False),
        (rules("[{sourceLabels: {app: a}}]", "[{sourceLabels: {app: a, tier: x}}]"), True),
        (rules("[{sourceLabels: {app: a}}]", "[{sourceLabels: {app: b}}]"), False),
        (rules("[{sourceNamespace: a}, {sourceNamespace: b}]", "[{sourceNamespace: b, uri: {prefix: /x}}]"), True),
        (rules("[{queryParams: {q: {exact: a}}}]", "[{queryParams: {q: {prefix: a}}}]"), False),
        (rules("[{queryParams: {q: {prefix: a}}}]", "[{queryParams: {q: {exact: ab}}}]"), True),
        (rules("[{method: {regex: GET|HEAD}}]", "[{method: {exact: HEAD}}]"), True),
        (rules("[{method: {exact: GET}}]", "[{method: {regex: GET|HEAD}}]"), False),
        (rules("[{uri: {prefix: /a}, headers: {x: {exact: '1'}}}]", "[{uri: {prefix: /a}}]"), False),
    ],
)
def test_a_virtual_services_rule_is_shadowed_where_earlier_ones_take_all_its_requests(
    text: str, *, shadowed: bool
) -> None:
    hits = [item for item in found(text, code="WFT0120") if "rule" in item.message]
    assert bool(hits) is shadowed
    assert all(item.related for item in hits)


@pytest.mark.parametrize(
    ("matches", "line"),
    [
        (["[{path: {type: PathPrefix, value: /a}}]", "[{path: {type: PathPrefix, value: /a}}]"], True),
        (["[{path: {type: PathPrefix, value: /a}}]", "[{path: {type: PathPrefix, value: /a/}}]"], True),
        (["[{path: {type: PathPrefix, value: /}}]", "[{path: {type: PathPrefix, value: /a}}]"], False),
        (["[{method: GET}]", "[{path: {type: PathPrefix, value: /}}]"], False),
        (["[{headers: [{name: x, value: a}]}]", "[{headers: [{name: X, value: a}]}]"], True),
        (["[{headers: [{name: x, value: a}]}]", "[{headers: [{name: x, value: b}]}]"], False),
    ],
)
def test_an_http_routes_rule_is_shadowed_by_precedence_and_not_by_place(matches: list[str], *, line: bool) -> None:
    written = ", ".join(f"{{matches: {match}, backendRefs: [{{name: web, port: 80}}]}}" for match in matches)
    route = document(
        API, "HTTPRoute", "r", f"{{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{written}]}}"
    )
    assert bool(found(route, code="WFT0120")) is line


# --- weights -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "wrong"), [("50 50", False), ("50 49", True), ("1", False), ("100 0", False), ("1 1", True)]
)
def test_weights_of_several_destinations_sum_to_a_hundred(weights: str, *, wrong: bool) -> None:
    written = ", ".join(f"{{destination: {{host: web}}, weight: {weight}}}" for weight in weights.split())
    assert bool(found(virtual_service(f"{{hosts: [web], http: [{{route: [{written}]}}]}}"), code="WFT0122")) is wrong


def test_a_connection_route_of_weight_nothing_is_said() -> None:
    rule = "{backendRefs: [{name: web, port: 80, weight: 0}]}"
    text = document(f"{API}alpha2", "TCPRoute", "t", f"{{parentRefs: [{{name: g}}], rules: [{rule}]}}")
    assert found(text, code="WFT0122")


# --- policies ----------------------------------------------------------------------------------------------------------------


def policy(action: str, rule: str) -> str:
    return document(SECURITY, "AuthorizationPolicy", "p", f"{{action: {action}, rules: [{rule}]}}")


@pytest.mark.parametrize(
    ("rule", "possible"),
    [
        ("{from: [{source: {ipBlocks: [10.1.0.0/16], notIpBlocks: [10.0.0.0/8]}}]}", False),
        ("{from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16]}}]}", True),
        ("{from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: [10.0.0.0/9, 10.128.0.0/9]}}]}", False),
        ("{from: [{source: {ipBlocks: [10.0.0.0/8]}}], when: [{key: source.ip, values: [192.168.0.0/16]}]}", False),
        ("{from: [{source: {ipBlocks: [10.0.0.0/8]}}], when: [{key: source.ip, values: [10.2.0.0/16]}]}", True),
        ("{from: [{source: {ipBlocks: ['::/0']}}], when: [{key: source.ip, values: [10.2.0.0/16]}]}", False),
        ("{from: [{source: {ipBlocks: [10.0.0.1], notIpBlocks: [10.0.0.1]}}]}", False),
        ("{from: [{source: {namespaces: [a], principals: [cluster.local/ns/b/sa/x]}}]}", False),
        ("{from: [{source: {namespaces: [a, b], principals: [cluster.local/ns/b/sa/x]}}]}", True),
        ("{from: [{source: {namespaces: [a], principals: ['*/sa/x']}}]}", True),
        ("{from: [{source: {namespaces: ['b*'], principals: [cluster.local/ns/bank/sa/x]}}]}", True),
        ("{to: [{operation: {methods: [GET], notMethods: [GET, PUT]}}]}", False),
        ("{to: [{operation: {methods: [GET, PUT], notMethods: [GET]}}]}", True),
        ("{to: [{operation: {paths: [/a/*], notPaths: [/a*]}}]}", False),
        ("{to: [{operation: {paths: [/a*], notPaths: [/a/*]}}]}", True),
        ("{to: [{operation: {hosts: [a.example], notHosts: [A.EXAMPLE]}}]}", False),
        ("{to: [{operation: {ports: ['80']}}], when: [{key: destination.port, values: ['81']}]}", False),
        ("{to: [{operation: {paths: [a]}}]}", False),
        ("{when: [{key: 'request.headers[x]', values: [a]}, {key: 'request.headers[x]', values: [b]}]}", False),
        ("{when: [{key: 'request.headers[x]', values: [a*]}, {key: 'request.headers[x]', values: ['*b']}]}", True),
        ("{from: [{source: {principals: [a, b]}}], when: [{key: source.principal, notValues: [a, b]}]}", False),
        ("{}", True),
    ],
)
@pytest.mark.parametrize(("action", "code"), [("DENY", "WFT0123"), ("ALLOW", "WFT0124")])
def test_a_policy_whose_only_rule_no_request_fulfils_is_said(
    action: str, code: str, rule: str, *, possible: bool
) -> None:
    assert bool(found(policy(action, rule), code=code)) is not possible


AUTHENTICATION = "{%sjwtRules: [{issuer: i, jwksUri: 'https://i.example/keys'}]}"


@pytest.mark.parametrize(
    ("rule", "authentication", "wrong"),
    [
        ("{from: [{source: {requestPrincipals: ['*']}}]}", None, True),
        ("{from: [{source: {requestPrincipals: ['*']}}]}", "", False),
        ("{from: [{source: {notRequestPrincipals: ['*']}}]}", None, True),
        ("{from: [{source: {requestPrincipals: ['*']}}]}", "selector: {matchLabels: {app: other}}, ", True),
        ("{from: [{source: {requestPrincipals: ['*']}}]}", "targetRefs: [{group: g, kind: Gateway, name: x}], ", True),
        ("{when: [{key: 'request.auth.claims[role]', values: [a]}]}", None, True),
        ("{when: [{key: 'request.headers[authorization]', values: [a]}]}", None, False),
    ],
)
def test_claims_need_what_yields_them(rule: str, authentication: str | None, *, wrong: bool) -> None:
    texts = [policy("ALLOW", rule)]
    if authentication is not None:
        spec = (AUTHENTICATION % authentication).replace("group: g", "group: gateway.networking.k8s.io")
        texts.append(document(SECURITY, "RequestAuthentication", "j", spec))
    assert bool(found(*texts, code="WFT0125")) is wrong


# --- retries -----------------------------------------------------------------------------------------------------------------


def budget(host: str, spec: str) -> str:
    return document(ISTIO, "DestinationRule", "d", f"{{host: {host}, {spec}}}")


TRIES = "retries: {attempts: 2, retryOn: 5xx%s}"


@pytest.mark.parametrize(
    ("rule", "texts", "wrong"),
    [
        (f"{{{TRIES % ''}, route: {ROUTE}}}", [], True),
        (f"{{match: [{{method: {{exact: POST}}}}], {TRIES % ''}, route: {ROUTE}}}", [], True),
        (f"{{match: [{{method: {{regex: GET|HEAD}}}}], {TRIES % ''}, route: {ROUTE}}}", [], False),
        (f"{{match: [{{method: {{regex: 'GET|P.*'}}}}], {TRIES % ''}, route: {ROUTE}}}", [], True),
        (f"{{{TRIES % ''}, timeout: 1s, route: {ROUTE}}}", [], False),
        (f"{{{TRIES % ''}, route: {ROUTE}}}", [budget("web", "trafficPolicy: {retryBudget: {percent: 20}}")], False),
        (
            f"{{{TRIES % ''}, route: {ROUTE}}}",
            [budget("'*.local'", "trafficPolicy: {retryBudget: {percent: 20}}")],
            False,
        ),
        (
            f"{{{TRIES % ''}, route: [{{destination: {{host: web, subset: a}}}}]}}",
            [budget("web", "subsets: [{name: a, labels: {app: web}, trafficPolicy: {retryBudget: {percent: 20}}}]")],
            False,
        ),
        (f"{{retries: {{attempts: 0}}, route: {ROUTE}}}", [], False),
        (f"{{retries: {{attempts: 2, retryOn: connect-failure}}, route: {ROUTE}}}", [], False),
    ],
)
def test_a_retry_that_may_carry_out_a_request_twice_needs_a_budget(rule: str, texts: list[str], *, wrong: bool) -> None:
    assert bool(found(virtual_service(f"{{hosts: [web], http: [{rule}]}}"), *texts, code="WFT0126")) is wrong


@pytest.mark.parametrize(
    ("timeout", "each", "wrong"),
    [("3s", "1s", False), ("2900ms", "1s", True), ("1s", "1s", True), ("", "1s", False), ("1s", "", False)],
)
def test_a_timeout_leaves_room_for_its_retries(timeout: str, each: str, *, wrong: bool) -> None:
    parts = [
        TRIES % (f", perTryTimeout: {each}" if each else ""),
        f"route: {ROUTE}",
        *([f"timeout: {timeout}"] if timeout else []),
    ]
    assert bool(found(virtual_service(f"{{hosts: [web], http: [{{{', '.join(parts)}}}]}}"), code="WFT0127")) is wrong


def test_retries_and_timeouts_of_an_http_route_are_held_to_the_same() -> None:
    rule = "{retry: {codes: [503], attempts: 2}, timeouts: {request: %s, backendRequest: 1s}, backendRefs: [{name: web, port: 80}]}"
    for timeout, wrong in (("2s", True), ("3s", False)):
        spec = f"{{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{rule % timeout}]}}"
        assert bool(found(document(API, "HTTPRoute", "r", spec), code="WFT0127")) is wrong


# --- mutual TLS --------------------------------------------------------------------------------------------------------------

STRICT = document(SECURITY, "PeerAuthentication", "s", "{mtls: {mode: STRICT}}")
ONLY_V1 = document(SECURITY, "PeerAuthentication", "s", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}")


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        ([STRICT, budget("web", "trafficPolicy: {tls: {mode: DISABLE}}")], True),
        ([STRICT, budget("web", "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")], False),
        ([STRICT, budget("'*.shop.svc.cluster.local'", "trafficPolicy: {tls: {mode: DISABLE}}")], True),
        (
            [
                STRICT,
                budget("'*.shop.svc.cluster.local'", "trafficPolicy: {tls: {mode: DISABLE}}"),
                document(ISTIO, "DestinationRule", "near", "{host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
            ],
            False,
        ),
        (
            [
                ONLY_V1,
                budget(
                    "web",
                    "subsets: [{name: b, labels: {app: web, version: v2}, trafficPolicy: {tls: {mode: DISABLE}}}]",
                ),
            ],
            False,
        ),
        (
            [ONLY_V1, budget("web", "subsets: [{name: a, labels: {app: web}, trafficPolicy: {tls: {mode: DISABLE}}}]")],
            True,
        ),
        (
            [STRICT, budget("web", "trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}")],
            True,
        ),
        (
            [STRICT, budget("web", "trafficPolicy: {portLevelSettings: [{port: {number: 9}, tls: {mode: SIMPLE}}]}")],
            False,
        ),
        ([budget("web", "trafficPolicy: {tls: {mode: DISABLE}}")], False),
    ],
)
def test_what_clients_speak_meets_what_servers_take(texts: list[str], *, wrong: bool) -> None:
    assert bool(found(*texts, code="WFT0128")) is wrong


# --- certificates ------------------------------------------------------------------------------------------------------------


def pem(*names: str, begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=90)) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.fromtimestamp(NOW.timestamp(), UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def secret(certificate: tuple[str, str]) -> str:
    held = "".join(
        f"  {name}: |\n" + "".join(f"    {line}\n" for line in text.splitlines())
        for name, text in zip(("tls.crt", "tls.key"), certificate, strict=True)
    )
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: shop}}\ntype: kubernetes.io/tls\nstringData:\n{held}"


def listener(hostname: str) -> str:
    tls = "tls: {certificateRefs: [{name: cert}]}"
    at = f"[{{name: https, port: 443, protocol: HTTPS, hostname: '{hostname}', {tls}}}]"
    return document(API, "Gateway", "g", f"{{gatewayClassName: weft, listeners: {at}}}")


@pytest.mark.parametrize(
    ("names", "hostname", "wrong"),
    [
        (("a.example",), "a.example", False),
        (("a.example",), "b.example", True),
        (("*.example",), "a.example", False),
        (("*.example",), "a.b.example", True),
        (("*.example",), "*.example", False),
        (("a.example",), "*.example", True),
        (("A.EXAMPLE",), "a.example", False),
    ],
)
def test_a_listeners_certificate_covers_its_host(names: tuple[str, ...], hostname: str, *, wrong: bool) -> None:
    assert bool(found(secret(pem(*names)), listener(hostname), code="WFT0131")) is wrong


@pytest.mark.parametrize(
    ("begins", "ends", "code"),
    [
        (timedelta(days=-9), timedelta(days=-1), "IST0161"),
        (timedelta(days=1), timedelta(days=90), "IST0161"),
        (timedelta(days=-9), timedelta(days=5), "WFT0130"),
    ],
)
def test_a_listeners_certificate_is_of_its_time(begins: timedelta, ends: timedelta, code: str) -> None:
    assert found(secret(pem("a.example", begins=begins, ends=ends)), listener("a.example"), code=code)
    fresh = secret(pem("a.example"))
    assert not found(fresh, listener("a.example"), code=code)


# --- hosts, wildcards, localities --------------------------------------------------------------------------------------------


def elsewhere(text: str, namespace: str = "far") -> str:
    return text.replace("namespace: shop", f"namespace: {namespace}")


@pytest.mark.parametrize(
    ("server", "wrong"),
    [("'*'", True), ("x.example", True), ("'shop/*'", False), ("'far/*'", False), ("y.example", False)],
)
def test_a_host_has_two_owners_only_where_the_gateway_serves_it_to_both(server: str, *, wrong: bool) -> None:
    servers = f"[{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{server}]}}]"
    gateway = document(ISTIO, "Gateway", "edge", f"{{selector: {{app: web}}, servers: {servers}}}")
    claim = virtual_service(f"{{hosts: [x.example], gateways: [shop/edge], http: [{{route: {ROUTE}}}]}}")
    assert bool(found(gateway, claim, elsewhere(claim), code="WFT0132")) is wrong


@pytest.mark.parametrize(
    ("declared", "export", "wrong"),
    [("a.example", "'*'", True), ("'*.example'", "'*'", False), ("a.example", "'.'", False), ("a.other", "'*'", False)],
)
def test_a_wildcard_is_wider_than_what_its_namespace_sees_declared(declared: str, export: str, *, wrong: bool) -> None:
    ports = "[{number: 80, name: http, protocol: HTTP}]"
    entry = document(
        ISTIO, "ServiceEntry", "e", f"{{hosts: [{declared}], exportTo: [{export}], ports: {ports}, resolution: NONE}}"
    )
    wide = virtual_service(f"{{hosts: ['*.example'], http: [{{route: {ROUTE}}}]}}")
    assert bool(found(elsewhere(entry), wide, code="WFT0133")) is wrong


FAILOVER = "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}"
DETECTION = "outlierDetection: {consecutive5xxErrors: 1}"


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (f"trafficPolicy: {{{FAILOVER}}}", True),
        (f"trafficPolicy: {{{FAILOVER}, {DETECTION}}}", False),
        ("trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}", True),
        ("trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}", False),
        ("trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a/*, to: {'a/*': 100}}]}}}", False),
        (
            f"trafficPolicy: {{{DETECTION}}}, subsets: [{{name: a, labels: {{app: web}}, trafficPolicy: {{{FAILOVER}}}}}]",
            False,
        ),
        (f"trafficPolicy: {{{DETECTION}, portLevelSettings: [{{port: {{number: 80}}, {FAILOVER}}}]}}", True),
        (
            (
                "subsets: [{name: a, labels: {app: web}, trafficPolicy: "
                f"{{{DETECTION}, portLevelSettings: [{{port: {{number: 80}}, {FAILOVER}}}]}}}}]"
            ),
            True,
        ),
    ],
)
def test_locality_settings_that_wait_for_detection_have_it(spec: str, *, wrong: bool) -> None:
    assert bool(found(budget("web", spec), code="WFT0134")) is wrong


# --- what is valid and has no effect -----------------------------------------------------------------------------------------

BYTES = service("web", "[{name: tcp, port: 80}]") + deployment("web")
GET = "{action: DENY, rules: [{to: [{operation: {methods: [GET]%s}}]}]}"


@pytest.mark.parametrize(
    ("base", "spec", "warned"),
    [
        (WEB, GET % "", False),
        (BYTES, GET % "", True),
        (BYTES, GET % ", ports: ['80']", False),
        ("", GET % "", True),
        (BYTES, (GET % "").replace("DENY", "ALLOW"), False),
        (BYTES, "{action: DENY, rules: [{from: [{source: {principals: [a]}}]}]}", False),
        (WEB, "{selector: {}}", True),
    ],
)
def test_a_denial_of_http_is_warned_of_where_bytes_may_pass(base: str, spec: str, *, warned: bool) -> None:
    files = {"a.yaml": (base + document(SECURITY, "AuthorizationPolicy", "p", spec)).encode()}
    assert any(item.code == "IST0133" for item in check(MemoryTree(files))) is warned


@pytest.mark.parametrize(
    ("kind", "spec", "place"),
    [
        ("Sidecar", "{egress: [{hosts: [./*, shop/a.b]}]}", "shop/a.b"),
        ("Sidecar", "{egress: [{hosts: ['*/*', shop/a.b]}]}", ""),
        ("Sidecar", "{egress: [{hosts: [far/*, shop/a.b]}]}", ""),
        ("ServiceEntry", "{hosts: ['*'], ports: [{number: 80, name: h, protocol: HTTP}], resolution: NONE}", ""),
        (
            "ServiceEntry",
            "{hosts: [a.b], ports: [{number: 80, name: h, protocol: HTTP, targetPort: 81}], resolution: DNS}",
            "",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.b], ports: [{number: 80, name: h, protocol: HTTP, targetPort: 81}]}",
            "targetPort",
        ),
        (
            "Gateway",
            "{selector: {app: web}, servers: [{port: {number: 1, name: h, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}]}",
            "",
        ),
    ],
)
def test_a_setting_without_effect_is_shown_at_its_place(kind: str, spec: str, place: str) -> None:
    text = document(ISTIO, kind, "x", spec)
    lines = text.splitlines()
    marked = [
        lines[item.span.line - 1][item.span.column - 1 : item.span.end_column - 1]
        for item in found(text, code="IST0133")
    ]
    assert marked == ([place] if place else [])
