"""Istio's cases of routing by claims: their tokens, made here by a key of our own, and the configuration that the data lack because it is code."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.traffic_lost import FQDN, Lost
from tests.tokens import Issuer

ISSUER = Issuer("test-issuer-1@istio.io")
_REGEX_VALUES = r"(\W|^)value\s{0,3}not{0,1}\s{0,3}matched(\W|$)"
_TOLD = [
    {"header": "x-jwt-nested-key", "claim": "nested.nested-2.key2"},
    {"header": "x-jwt-issuer", "claim": "iss"},
    {"header": "x-jwt-wrong-header", "claim": "wrong_claim"},
]
_CLAIMS: dict[str, Any] = {"sub": "sub-1", "nested": {"key1": ["valueA", "valueB"], "nested-2": {"key2": "valueAA"}}}
_OTHER: dict[str, Any] = {"sub": "sub-1", "nested": {"key1": "valueC", "nested-2": {"key2": "valueBB"}}}
_ADDRESSED: dict[str, Any] = {"test-issuer-1@istio.io": "valueD", "nested": {"test-issuer-1@istio.io": "valueE"}}


def _config(headers: dict[str, dict[str, str]], without: dict[str, dict[str, str]]) -> str:
    gateway = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "gateway", "namespace": "istio-system"},
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    }
    routes = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "by-claims"},
        "spec": {
            "hosts": ["foo.bar"],
            "gateways": ["istio-system/gateway"],
            "http": [
                {
                    "match": [{"uri": {"prefix": "/"}, "headers": headers, "withoutHeaders": without}],
                    "route": [{"destination": {"host": f"b.{FQDN}", "port": {"number": 80}}}],
                }
            ],
        },
    }
    tokens = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "istio-system"},
        "spec": {
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "jwtRules": [{"issuer": ISSUER.name, "jwks": ISSUER.jwks, "outputClaimToHeaders": _TOLD}],
        },
    }
    # A space between two braces keeps them from being read as a template's.
    return "\n---\n".join(json.dumps(one).replace("{{", "{ {") for one in (gateway, routes, tokens))


def _case(matches: dict[str, tuple[str, str]], without: dict[str, tuple[str, str]], token: str, **headers: str) -> Lost:
    asked, unlike = ({name: {kind: text} for name, (kind, text) in one.items()} for one in (matches, without))
    if token:
        headers = {"authorization": f"Bearer {token}", **headers}
    return Lost(headers=headers, config=_config(asked, unlike), host="foo.bar")


def _of(sub: str, key: str, lines: dict[str, int]) -> dict[int, Lost]:
    """The cases that there are for both ways to write a claim."""
    token = ISSUER.token(**_CLAIMS)
    wanted = ("exact", "valueA")
    regexes = {sub: ("regex", r"(\W|^)(sub-1|sub-2)(\W|$)"), key: ("regex", r"(\W|^)value[AB](\W|$)")}
    without = {key: ("regex", _REGEX_VALUES)}
    cases = {
        "nested": _case({key: wanted}, {}, token),
        "single": _case({sub: ("prefix", "sub")}, {}, token),
        "regex": _case(regexes, {}, token),
        "several": _case({key: wanted, sub: ("prefix", "sub")}, {}, token),
        "without": _case({}, {key: ("exact", "value-not-matched")}, token),
        "without what is there": _case({}, {key: wanted}, token),
        "with and without": _case({sub: ("prefix", "sub")}, without, token),
        "not all": _case({key: wanted, sub: ("prefix", "value-not-matched")}, {}, token),
        "invalid": _case({key: wanted}, {}, ISSUER.expired(**_CLAIMS)),
        "no token": _case({key: wanted}, {}, ""),
        "a header of its name": _case({key: wanted}, {}, "", **{"request.auth.claims.nested.key1": "valueA"}),
    }
    return {lines[name]: case for name, case in cases.items() if name in lines}


def _cases() -> dict[int, Lost]:
    told = ISSUER.token(**_OTHER)
    addressed = ISSUER.token(**_ADDRESSED)
    simple = "@request.auth.claims[test-issuer-1@istio.io]"
    nested = "@request.auth.claims[nested][test-issuer-1@istio.io]"
    header = {"x-jwt-nested-key": ("exact", "valueBB"), "x-jwt-issuer": ("exact", ISSUER.name)}
    first = {"nested": 4420, "single": 4446, "regex": 4472, "several": 4501, "without": 4530}
    first |= {"without what is there": 4556, "with and without": 4582, "no token": 4693, "a header of its name": 4719}
    second = {"nested": 4777, "single": 4803, "regex": 4829, "several": 4858, "with and without": 4939}
    second |= {"not all": 4969, "invalid": 5024, "no token": 5050, "a header of its name": 5076}
    return {
        4360: _case(header, {}, told, **{"x-jwt-nested-key": "value_to_be_replaced"}),
        4389: _case(
            {"x-jwt-wrong-header": ("exact", "header_to_be_deleted")},
            {},
            told,
            **{"x-jwt-wrong-header": "header_to_be_deleted"},
        ),
        **_of("@request.auth.claims.sub", "@request.auth.claims.nested.key1", first),
        **_of("@request.auth.claims[sub]", "@request.auth.claims[nested][key1]", second),
        5130: _case({simple: ("exact", "valueD")}, {}, addressed),
        5157: _case({simple: ("exact", "value-not-matched")}, {}, addressed),
        5184: _case({nested: ("exact", "valueE")}, {}, addressed),
        5211: _case({nested: ("exact", "value-not-matched")}, {}, addressed),
    }


CASES = _cases()
"""What each case lacks, by its line."""
