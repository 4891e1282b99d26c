"""What ``/explain`` says of requests with tokens."""

from __future__ import annotations

import json

import pytest

from policies.match import ClaimMatch, Exact
from policies.tokens import KeySource, TokenRule
from runtime.pages.explaining import ExplainError, explain
from snapshot.live import FetchedKeys
from snapshot.section import FilterChain, GatewayPort, HttpChain, Listener, TokenSet
from tests.slices import SOURCE, cluster, host_sections, route, slice_of, table
from tests.tokens import Issuer

ISSUER = Issuer()
KEYS = KeySource(uri="https://issuer.test/keys")
CHAIN = FilterChain("http", SOURCE, HttpChain("80", tokens="tokens"))
SLICE = slice_of(
    Listener("http", SOURCE, "gateway", GatewayPort(80), "http", (CHAIN,)),
    table(),
    cluster("members"),
    cluster("others"),
    *host_sections(
        "h", ("*",), (route(cluster="members", claims=(ClaimMatch(("group",), Exact("x")),)), route(cluster="others"))
    ),
    TokenSet("tokens", (TokenRule(SOURCE, ISSUER.name, KEYS),)),
)
ASKED = {"authority": "a.test"}


def test_claims_stand_for_a_token_that_was_checked() -> None:
    told = explain(SLICE, {**ASKED, "claims": json.dumps({"iss": "a", "group": ["x"]})})
    assert told["decision"]["destinations"][0]["cluster"] == "members"
    told = explain(SLICE, {**ASKED, "claims": "{}"})
    assert told["decision"]["destinations"][0]["cluster"] == "others"
    assert told["considered"][0]["missing"] == ["claim group = x"]
    with pytest.raises(ExplainError, match="no JSON object"):
        explain(SLICE, {**ASKED, "claims": "[]"})


def test_a_token_is_checked_by_the_keys_that_there_are() -> None:
    bearing = {**ASKED, "header.authorization": f"Bearer {ISSUER.token(group='x')}"}
    told = explain(SLICE, bearing, (FetchedKeys(KEYS, ISSUER.jwks.encode()),))
    assert told["decision"]["destinations"][0]["cluster"] == "members"
    assert (
        explain(SLICE, bearing)["decision"]["reply"]["details"]
        == "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}"
    )
    expired = {**ASKED, "header.authorization": f"Bearer {ISSUER.expired()}"}
    assert explain(SLICE, expired)["decision"]["reply"]["status"] == 401
