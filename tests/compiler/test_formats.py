"""Formats that schemas name: what is right, and what is wrong."""

from __future__ import annotations

import pytest

from compiler.formats import nanoseconds, problem

RIGHT = [
    ("duration-1ms", "1ms"),
    ("duration-1ms", "1.5h"),
    ("duration-1ms", ".5s"),
    ("duration-1ms", "1m30s"),
    ("duration-ms", "0s"),
    ("duration-s", "2s"),
    ("wildcard-host", "*"),
    ("wildcard-host", "*foo"),
    ("wildcard-host", "*-foo.Bar.com"),
    ("wildcard-host", "istio.io."),
    ("host", "a.example."),
    ("host-or-ip", "::1"),
    ("endpoint", "unix:///var/run/a"),
    ("gateway-host", "shop/*.example.com"),
    ("gateway-host", "10.0.0.1"),
    ("sidecar-host", "~/*"),
    ("ip", "2001:db8::1"),
    ("ip-block", "10.1.2.3/8"),
    ("proxy-address", "[2001:db8::1]:80"),
    ("proxy-address", "$(HOST_IP):9411"),
    ("proxy-address", ""),
    ("header-value", "100%%"),
    ("header-value", "a %REQ(X?Y):10% b %HOSTNAME%"),
    ("header-value", '%DYNAMIC_METADATA(["a", "b"])%'),
    ("header-value", "%START(%b %d)%"),
    ("retry-on", "5xx, 503,reset"),
    ("prime", "65537"),
    ("re2-or-star", "*"),
    ("cel", "response.code >= 400 && connection.mtls"),
    ("date-time", "a format that is not ours"),
]
WRONG = [
    ("duration-1ms", "0s", "the least"),
    ("duration-1ms", "999us", "the least"),
    ("duration-1ms", "0.9999s", "milliseconds"),
    ("duration-1ms", "1.0000000000001s", "milliseconds"),
    ("duration-ms", "1.5ms", "milliseconds"),
    ("duration-s", "1.5s", "seconds"),
    ("duration-s", "0s", "the least"),
    ("wildcard-host", "foo*.bar", "first label"),
    ("wildcard-host", "a.*.bar", "first label"),
    ("wildcard-host", "10.0.0.1", "first label"),
    ("wildcard-host", "a_b.c", "first label"),
    ("wildcard-host", f"{'a' * 64}.b", "first label"),
    ("wildcard-host", ".".join(["a" * 50] * 6), "first label"),
    ("host", "*.a", "wildcard"),
    ("host-or-ip", "a..b", "IP address"),
    ("endpoint", "a.example:80", "port"),
    ("gateway-host", "short", "full host name"),
    ("sidecar-host", "./10.0.0.1", "full host name"),
    ("ip", "1.1.1", "IP"),
    ("ip-block", "10.0.0.0/255.0.0.0", "CIDR"),
    ("ip-block", "10.0.0.0/33", "CIDR"),
    ("proxy-address", "pilot", "port"),
    ("proxy-address", "pilot:0", "65535"),
    ("proxy-address", f"pilot:{'9' * 5000}", "port"),
    ("proxy-address", "2001:db8::1:80", "port"),
    ("header-value", "50%", "%%"),
    ("header-value", "%START_TIME%%", "%%"),
    ("header-value", "a\nb", "control"),
    ("retry-on", "5xx,often", "often"),
    ("retry-on", "600", "600"),
    ("prime", "1000", "prime"),
    ("re2", "*", "RE2"),
    ("jwk-set", "[]", "keys"),
    ("cel", ")++", "CEL"),
]


@pytest.mark.parametrize(("name", "text"), RIGHT)
def test_what_has_a_format_has_no_problem(name: str, text: str) -> None:
    assert problem(name, text) == ""


@pytest.mark.parametrize(("name", "text", "words"), WRONG, ids=[f"{name}-{text[:20]}" for name, text, _ in WRONG])
def test_what_lacks_a_format_is_told_what_it_should_be(name: str, text: str, words: str) -> None:
    assert words in problem(name, text)


def test_a_duration_is_exact_and_a_hostile_one_is_none() -> None:
    assert nanoseconds("1h1.000000001s") == 3_601_000_000_001
    assert nanoseconds("9" * 100_000 + "s") is None
    assert nanoseconds("soon") is None
