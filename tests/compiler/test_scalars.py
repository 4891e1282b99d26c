"""Scalars mean what they mean to Kubernetes: the table of YAML 1.1 as its libraries read it, seen through JSON."""

from __future__ import annotations

import pytest

from compiler.scalars import UnresolvableError, key_text, resolve_plain, resolve_tagged


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("true", True),
        ("True", True),
        ("tRue", "tRue"),
        ("yes", True),
        ("y", True),
        ("On", True),
        ("off", False),
        ("N", False),
        ("oFF", "oFF"),
        ("0", 0),
        ("-0", 0),
        ("80", 80),
        ("+80", 80),
        ("-80", -80),
        ("010", 8),
        ("0o17", 15),
        ("0O17", 15),
        ("0x1F", 31),
        ("-0x10", -16),
        ("0b101", 5),
        ("1_000", 1000),
        ("08", 8),
        ("09.5", 9.5),
        ("1.10", 1.1),
        ("1.", 1),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1e3", 1000),
        ("1E-2", 0.01),
        ("1e999", "1e999"),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ("-9223372036854775808", -9223372036854775808),
        ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("10.0.0.1", "10.0.0.1"),
        ("0xZZ", "0xZZ"),
        ("12e03x", "12e03x"),
        (".", "."),
        ("-", "-"),
        ("5s", "5s"),
        ("reviews", "reviews"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_a_plain_scalar_resolves_as_kubernetes_resolves_it(text: str, value: object) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.Inf", "+.INF"])
def test_a_number_that_json_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(UnresolvableError, match="finite"):
        resolve_plain(text)


def test_thousands_of_digits_cost_nothing_and_are_a_float() -> None:
    assert resolve_plain("1" * 300) == float("1" * 300)
    assert resolve_plain("1" * 100_000) == "1" * 100_000


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("!", "true", "true"),
        ("tag:yaml.org,2002:str", "80", "80"),
        ("tag:yaml.org,2002:int", "80", 80),
        ("tag:yaml.org,2002:float", "80", 80),
        ("tag:yaml.org,2002:float", "8.5", 8.5),
        ("tag:yaml.org,2002:bool", "no", False),
        ("tag:yaml.org,2002:null", "", None),
        ("tag:yaml.org,2002:timestamp", "2024-01-02", "2024-01-02"),
    ],
)
def test_a_core_tag_says_which_type_is_meant(tag: str, text: str, value: object) -> None:
    assert resolve_tagged(tag, text) == value


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("tag:yaml.org,2002:int", "eighty"),
        ("tag:yaml.org,2002:int", "true"),
        ("tag:yaml.org,2002:bool", "1"),
        ("!vault", "secret"),
        ("tag:yaml.org,2002:binary", "aGk="),
    ],
)
def test_a_tag_that_does_not_fit_or_that_nobody_knows_is_refused(tag: str, text: str) -> None:
    with pytest.raises(UnresolvableError):
        resolve_tagged(tag, text)


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (80, "80"), (True, "true"), (1.5, "1.5")])
def test_a_key_becomes_the_text_that_json_gives_it(value: str | float, text: str) -> None:
    assert key_text(value) == text


def test_a_null_key_is_refused() -> None:
    with pytest.raises(UnresolvableError):
        key_text(None)
