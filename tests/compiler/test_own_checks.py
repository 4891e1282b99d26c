"""Each code that only weft has by bad and good cases, shadowed rules by a table."""

from __future__ import annotations

import pytest

from compiler.analysis_codes import OWN_CODES
from compiler.dates import Dates
from compiler.diagnostic import Diagnostic, Severity
from compiler.pipeline import check
from compiler.tree import MemoryTree
from tests.compiler.certificates import NOW, secret
from tests.compiler.kinds_in_yaml import deployment, document, service
from tests.compiler.test_istio_checks import (
    CLAIMS,
    FETCH,
    HTTP,
    INGRESS,
    PLAIN,
    ROUTE,
    TLS_443,
    WEB,
    entry,
    gateway,
    policy,
    routes,
    rule,
)


def web(http: str) -> str:
    return WEB + routes(f"{{hosts: [web], http: [{http}]}}")


def matched(*matches: str) -> str:
    """A VirtualService with one rule per argument."""
    return web(", ".join(f"{{match: [{match}], route: {ROUTE}}}" for match in matches))


def retried(retries: str, more: str = "") -> str:
    return web(f"{{{more}retries: {{{retries}}}, route: {ROUTE}}}")


def split(one: int, two: int) -> str:
    target = "{destination: {host: web}, weight: %d}"
    return web(f"{{route: [{target % one}, {target % two}]}}")


def mtls(mode: str, **more: str) -> str:
    return policy(f"{{mtls: {{mode: {mode}}}}}", kind="PeerAuthentication", **more)


def client(mode: str) -> str:
    return rule(f"{{host: web, trafficPolicy: {{tls: {{mode: {mode}}}}}}}")


def failover(more: str = "") -> str:
    setting = "{failover: [{from: a, to: b}]}"
    return WEB + rule(
        f"{{host: web, trafficPolicy: {{{more}loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {setting}}}}}}}"
    )


OUTSIDE = (
    "{hosts: ['%s'], location: MESH_EXTERNAL, resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}"
)
ELSEWHERE = routes(f"{{hosts: [a.test], gateways: [shop/g], http: [{{route: {ROUTE}}}]}}", "w").replace(
    "namespace: shop", "namespace: other"
)
HERE = WEB + INGRESS + gateway(PLAIN) + routes(f"{{hosts: [a.test], gateways: [g], http: [{{route: {ROUTE}}}]}}")
OTHER_WEB = (service("web", HTTP) + deployment("web")).replace("namespace: shop", "namespace: other")
BOTH_OUT = "{from: [{source: {namespaces: [a], notNamespaces: ['*']}}]}"
TOKEN = "{action: ALLOW, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}"

CASES: dict[str, tuple[str, str]] = {
    "WFT0120": (
        matched("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}"),
        matched("{uri: {prefix: /a}}", "{uri: {exact: /b}}"),
    ),
    "WFT0121": (
        matched("{uri: {regex: '/a[0-9]*'}}", "{uri: {regex: '/a[0-9]+'}}"),
        matched("{uri: {regex: '/a[0-9]'}}", "{uri: {prefix: /b}}"),
    ),
    "WFT0122": (split(1, 2), split(30, 70)),
    "WFT0123": (
        WEB + policy(f"{{action: DENY, rules: [{BOTH_OUT}]}}"),
        WEB + policy("{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}"),
    ),
    "WFT0124": (WEB + policy(f"{{action: ALLOW, rules: [{BOTH_OUT}]}}"), WEB + policy("{}")),
    "WFT0125": (WEB + policy(TOKEN), WEB + FETCH + policy(TOKEN)),
    "WFT0126": (retried("attempts: 2, retryOn: '5xx'"), retried("attempts: 2, retryOn: '5xx'", "timeout: 5s, ")),
    "WFT0127": (
        retried("attempts: 2, perTryTimeout: 2s", "timeout: 1s, "),
        retried("attempts: 2, perTryTimeout: 2s", "timeout: 6s, "),
    ),
    "WFT0128": (WEB + mtls("STRICT") + client("DISABLE"), WEB + mtls("STRICT") + client("ISTIO_MUTUAL")),
    "WFT0130": (INGRESS + gateway(TLS_443) + secret("c", days=20), INGRESS + gateway(TLS_443) + secret("c", days=90)),
    "WFT0131": (
        INGRESS + gateway(TLS_443) + secret("c", days=90, host="b.test"),
        INGRESS + gateway(TLS_443) + secret("c", days=90),
    ),
    "WFT0132": (HERE + OTHER_WEB + ELSEWHERE, HERE),
    "WFT0133": (
        WEB + entry(OUTSIDE % "api.a.test") + routes(f"{{hosts: ['*.a.test'], http: [{{route: {ROUTE}}}]}}"),
        WEB + entry(OUTSIDE % "*.a.test") + routes(f"{{hosts: ['*.a.test'], http: [{{route: {ROUTE}}}]}}"),
    ),
    "WFT0134": (failover(), failover("outlierDetection: {consecutive5xxErrors: 5}, ")),
}


def found(text: str, dates: Dates | None = None) -> list[Diagnostic]:
    return check(MemoryTree({"a.yaml": text.encode()}), dates or Dates(NOW))


def codes(text: str) -> set[str]:
    return {item.code for item in found(text)}


@pytest.mark.parametrize("code", CASES)
def test_a_bad_case_is_reported_and_has_the_right_shape(code: str) -> None:
    seen = codes(CASES[code][0])
    assert code in seen
    assert "IST0106" not in seen


@pytest.mark.parametrize("code", CASES)
def test_a_good_case_is_not_reported(code: str) -> None:
    seen = codes(CASES[code][1])
    assert code not in seen
    assert "IST0106" not in seen


def test_every_code_has_a_case() -> None:
    assert CASES.keys() == {row.code for row in OWN_CODES}


SHADOWED = {
    "a shorter prefix": ("{uri: {prefix: /a}}", "{uri: {prefix: /ab}}"),
    "all of a header's states": (
        "{headers: {x: {exact: a}}}",
        "{withoutHeaders: {x: {exact: a}}}",
        "{uri: {prefix: /b}}",
    ),
    "both schemes": ("{scheme: {exact: http}}", "{scheme: {exact: https}}", "{method: {exact: GET}}"),
    "a regular expression for one value": ("{uri: {regex: '/v[12]'}}", "{uri: {exact: /v1}}"),
    "a prefix whatever its case": (
        "{uri: {prefix: /A}, ignoreUriCase: true}",
        "{uri: {exact: /ab}, ignoreUriCase: true}",
    ),
}
REACHED = {
    "a longer prefix first": ("{uri: {prefix: /ab}}", "{uri: {prefix: /a}}"),
    "another method": ("{uri: {prefix: /a}, method: {exact: GET}}", "{uri: {prefix: /a/b}}"),
    "single paths before a prefix": ("{uri: {exact: /a}}", "{uri: {exact: /a/}}", "{uri: {prefix: /a}}"),
    "an expression with another start": ("{uri: {prefix: /a}}", "{uri: {regex: '/b[0-9]+'}}"),
    "another port": ("{uri: {prefix: /a}, port: 80}", "{uri: {prefix: /a/b}, port: 81}"),
    "another case": ("{uri: {prefix: /A}}", "{uri: {exact: /ab}}"),
    "a header that may be absent": ("{headers: {x: {regex: '.*'}}}", "{uri: {prefix: /}}"),
}


@pytest.mark.parametrize("name", SHADOWED)
def test_a_rule_that_earlier_ones_cover_is_shadowed(name: str) -> None:
    shadows = [item for item in found(matched(*SHADOWED[name])) if item.code == "WFT0120"]
    assert [item.severity for item in shadows] == [Severity.WARNING]
    assert shadows[0].related


@pytest.mark.parametrize("name", REACHED)
def test_a_rule_that_is_reached_is_not_shadowed(name: str) -> None:
    assert not {"WFT0120", "WFT0121", "IST0130"} & codes(matched(*REACHED[name]))


def test_an_optional_letter_is_no_certain_start_of_an_expression() -> None:
    assert "WFT0121" in codes(matched("{uri: {prefix: /acx}}", "{uri: {regex: '/ab?cx.*'}}"))


def test_only_the_rules_that_are_needed_to_cover_one_are_named() -> None:
    text = matched("{uri: {prefix: /x}}", "{uri: {prefix: /a}}", "{uri: {prefix: /ab}, method: {exact: GET}}")
    shadow = next(item for item in found(text) if item.code == "WFT0120")
    assert "http[1]" in shadow.message
    assert "http[0]" not in shadow.message


def test_an_end_within_the_asked_days_fails_and_no_date_says_nothing() -> None:
    text = CASES["WFT0130"][0]
    failing = [item for item in found(text, Dates(NOW, 30, fails=True)) if item.code == "WFT0130"]
    assert [item.severity for item in failing] == [Severity.ERROR]
    assert not [item for item in found(text, Dates(NOW, 10, fails=True)) if item.code == "WFT0130"]
    assert not [item for item in check(MemoryTree({"a.yaml": text.encode()})) if item.code in ("WFT0130", "IST0161")]


def test_an_authorization_document_of_the_idiom_for_denying_all_is_no_mistake() -> None:
    assert "WFT0124" not in codes(WEB + document("security.istio.io/v1", "AuthorizationPolicy", "p", "{}"))
    assert "WFT0124" in codes(WEB + policy("{selector: {matchLabels: {app: web}}}"))


def test_claims_of_a_route_need_authentication_too() -> None:
    assert "IST0149" in codes(WEB + INGRESS + gateway(PLAIN) + CLAIMS)
