"""SPIFFE IDs and X.509-SVIDs by the specification's rules, as tables."""

from __future__ import annotations

import msgspec
import pytest

from policies.spiffe import (
    CLIENT_AUTH,
    MAX_ID_BYTES,
    SERVER_AUTH,
    LeafFacts,
    SpiffeError,
    SpiffeId,
    parse,
    require_svid,
)

GOOD = (
    "spiffe://td/ns/shop/sa/reviews",
    "spiffe://a-b_c.1/x",
    "spiffe://cluster.local/A.b-C_9",
    "spiffe://td/..." + "a",
    "spiffe://td/" + "a" * (MAX_ID_BYTES - len("spiffe://td/")),
)
BAD = (
    ("", "does not begin"),
    ("SPIFFE://td/a", "does not begin"),
    ("https://td/a", "does not begin"),
    ("spiffe:///a", "not a trust domain"),
    ("spiffe://TD/a", "not a trust domain"),
    ("spiffe://td:8080/a", "not a trust domain"),
    ("spiffe://user@td/a", "not a trust domain"),
    ("spiffe://t%64/a", "not a trust domain"),
    ("spiffe://" + "t" * 256 + "/a", "not a trust domain"),
    ("spiffe://td", "no path"),
    ("spiffe://td/", "empty path segment"),
    ("spiffe://td/a/", "empty path segment"),
    ("spiffe://td//a", "empty path segment"),
    ("spiffe://td/./a", "path segment '.'"),
    ("spiffe://td/a/..", "path segment '..'"),
    ("spiffe://td/a%2fb", "characters"),
    ("spiffe://td/a?b", "characters"),
    ("spiffe://td/a#b", "characters"),
    ("spiffe://td/a\x00", "characters"),
    ("spiffe://td/a\n", "characters"),
    ("spiffe://td/é", "characters"),
    ("spiffe://td/" + "a" * MAX_ID_BYTES, "at most"),
)
LEAF = LeafFacts(
    uris=("spiffe://td/a",),
    authority=False,
    key_usage_critical=True,
    digital_signature=True,
    signs_certificates=False,
    signs_revocations=False,
    extended_usages=frozenset({SERVER_AUTH, CLIENT_AUTH}),
)


@pytest.mark.parametrize("text", GOOD)
def test_an_id_that_the_specification_allows_is_read_and_written_back(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(("text", "why"), BAD)
def test_an_id_that_breaks_a_rule_is_refused_with_the_rule(text: str, why: str) -> None:
    with pytest.raises(SpiffeError, match=why):
        parse(text)


def test_namespace_and_account_are_read_from_istios_path_only() -> None:
    assert parse("spiffe://td/ns/shop/sa/reviews").workload == ("shop", "reviews")
    assert parse("spiffe://td/shop/reviews").workload is None
    assert parse("spiffe://td/ns/shop/sa/reviews/x").workload is None


def test_a_leaf_that_keeps_all_rules_gives_its_identity() -> None:
    assert require_svid(LEAF) == SpiffeId("td", "/a")
    assert require_svid(msgspec.structs.replace(LEAF, extended_usages=None)) == SpiffeId("td", "/a")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"authority": True}, "CA is true"),
        ({"signs_certificates": True}, "keyCertSign"),
        ({"signs_revocations": True}, "cRLSign"),
        ({"digital_signature": False}, "digitalSignature"),
        ({"key_usage_critical": False}, "not critical"),
        ({"extended_usages": frozenset({SERVER_AUTH})}, "both server and client"),
        ({"extended_usages": frozenset({CLIENT_AUTH})}, "both server and client"),
        ({"uris": ()}, "0 URI names"),
        ({"uris": ("spiffe://td/a", "spiffe://td/b")}, "2 URI names"),
        ({"uris": ("https://td/a",)}, "not a SPIFFE ID"),
    ],
)
def test_a_leaf_that_breaks_a_rule_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(SpiffeError, match=why):
        require_svid(msgspec.structs.replace(LEAF, **change))
