"""Whose token a request bears, and what becomes of it: the first of the four pure steps."""

from __future__ import annotations

import base64
import json

import pytest

from policies.head import Principal, RequestHead
from policies.match import ClaimMatch, Exact, Prefix, Regex
from policies.tokens import ClaimHeader, KeySource, TokenHeader, TokenRule
from snapshot.authenticate import NO_LIVE_KEYS, LiveKeys, admitted, authenticate
from snapshot.decide import decide
from snapshot.jwt import (
    AUDIENCE,
    EXPIRED,
    FORM,
    MISSING,
    MULTIPLE,
    NO_KEY,
    NO_KEYS,
    NOT_YET,
    UNKNOWN_ISSUER,
    UNVERIFIED,
)
from snapshot.key_set import read_key_set
from snapshot.prepared import PreparedSlice, PrepareError
from snapshot.section import FilterChain, GatewayPort, HttpChain, Listener, Route, TokenSet
from tests.slices import PEER, SOURCE, cluster, host_sections, prepared_of, request, route, table
from tests.tokens import FAR, ISSUER, Issuer

NOW = 1_700_000_000.0
ONE, TWO = Issuer(), Issuer("https://two.test", key_id="two")


def rule(issuer: Issuer = ONE, **fields: object) -> TokenRule:
    return TokenRule(SOURCE, issuer.name, fields.pop("keys", KeySource(jwks=issuer.jwks)), **fields)  # type: ignore[arg-type]


def slice_asking(*rules: TokenRule, routes: tuple[Route, ...] = ()) -> PreparedSlice:
    chain = FilterChain("http", SOURCE, HttpChain("80", tokens="tokens"))
    listener = Listener("http", SOURCE, "gateway", GatewayPort(80), "http", (chain,))
    hosts = host_sections("h", ("*",), routes or (route(),))
    return prepared_of(listener, table(), cluster("a"), cluster("b"), *hosts, TokenSet("tokens", rules))


def bearing(token: str, **fields: object) -> RequestHead:
    return request(headers=[(b"authorization", f"Bearer {token}".encode())], **fields)  # type: ignore[arg-type]


def who(prepared: PreparedSlice, head: RequestHead, now: float = NOW) -> Principal:
    return authenticate(prepared.chains["http", "http"], head, PEER, NO_LIVE_KEYS, now)


def seen(prepared: PreparedSlice, head: RequestHead) -> RequestHead:
    return admitted(prepared.chains["http", "http"], head, who(prepared, head))


def without_signature(token: str) -> str:
    """The same token, its signature made of zeros."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' * len(signature)}"


# --- what is taken ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["EC", "RSA", "OKP"])
def test_a_token_of_the_issuer_is_taken_whatever_its_key(kind: str) -> None:
    issuer = Issuer(kind=kind)
    found = who(slice_asking(rule(issuer)), bearing(issuer.token(aud=["a", "b"], groups=["x"])))
    assert found.failure == ""
    assert found.token is not None
    assert (found.token.issuer, found.token.subject, found.token.audiences) == (ISSUER, "jo", ("a", "b"))
    assert found.token.claims["groups"] == ["x"]


def test_a_request_without_a_token_passes_without_identity() -> None:
    found = who(slice_asking(rule()), request(headers=[(b"authorization", b"Basic abc")]))
    assert (found.token, found.failure) == (None, "")


REFUSED = {
    "expired": (ONE.token(exp=int(NOW) - 61), EXPIRED),
    "without an end": (ONE.token(exp=None), UNVERIFIED),
    "of tomorrow": (ONE.token(nbf=int(NOW) + 61), NOT_YET),
    "another issuer's": (TWO.token(), UNKNOWN_ISSUER),
    "another's key of the same name": (Issuer().token(), UNVERIFIED),
    "another's key": (Issuer(key_id="three").token(), NO_KEY),
    "changed": (without_signature(ONE.token()), UNVERIFIED),
    "two parts": ("a.b", FORM),
    "no token": ("xyz", FORM),
    "an unknown algorithm": ("eyJhbGciOiJub25lIn0.e30.AAAA", "Jwt header [alg] is not supported"),
    "no signature": ("e30.e30.", FORM),
    "no algorithm": ("e30.e30.AAAA", "Jwt header [alg] field is required and must be a string"),
    "no JSON": ("YQ.e30.AAAA", "Jwt header is an invalid JSON"),
    "no base64": ("a.e30.AAAA", "Jwt header is an invalid Base64url encoded"),
    "padded": (f"{ONE.token()}=", "Jwt signature is an invalid Base64url encoded"),
}


@pytest.mark.parametrize(("token", "why"), REFUSED.values(), ids=REFUSED)
def test_a_token_is_refused_in_envoys_words(token: str, why: str) -> None:
    assert who(slice_asking(rule()), bearing(token)).failure == why


def test_a_minute_between_clocks_is_forgiven() -> None:
    prepared = slice_asking(rule())
    assert who(prepared, bearing(ONE.token(exp=int(NOW) - 59))).failure == ""
    assert who(prepared, bearing(ONE.token(nbf=int(NOW) + 59))).failure == ""


def test_a_secret_in_a_key_set_signs_nothing() -> None:
    """The public key as a secret of HMAC is the oldest trick (RFC 8725 section 2.1)."""
    secret = {"kty": "oct", "kid": "one", "k": base64.urlsafe_b64encode(ONE.jwks.encode()).decode().rstrip("=")}
    token = "eyJhbGciOiJIUzI1NiIsImtpZCI6Im9uZSJ9.e30.AAAA"
    prepared = slice_asking(rule(keys=KeySource(jwks=json.dumps({"keys": [secret]}))))
    assert who(prepared, bearing(token)).failure == "Jwt header [alg] is not supported"
    assert who(prepared, bearing(ONE.token())).failure == NO_KEYS


def test_what_a_token_says_is_critical_is_not_passed_over() -> None:
    assert who(slice_asking(rule()), bearing(ONE.token(header={"b64": True, "crit": ["b64"]}))).failure == UNVERIFIED


def test_one_of_the_audiences_must_be_the_tokens() -> None:
    prepared = slice_asking(rule(audiences=("https://shop.test/", "b")))
    for audience in ("b", "shop.test", ["x", "b"], "http://shop.test"):
        assert who(prepared, bearing(ONE.token(aud=audience))).failure == ""
    for audience in ("c", [], None):
        assert who(prepared, bearing(ONE.token(aud=audience))).failure == AUDIENCE


def test_an_empty_slot_refuses_every_token_and_no_request_without_one() -> None:
    source = KeySource(uri="https://issuer.test/keys")
    prepared = slice_asking(rule(keys=source))
    assert who(prepared, bearing(ONE.token())).failure == NO_KEYS
    assert who(prepared, request()).failure == ""
    filled = LiveKeys({source: read_key_set(ONE.jwks)})
    chain = prepared.chains["http", "http"]
    assert authenticate(chain, bearing(ONE.token()), PEER, filled, NOW).failure == ""


def test_a_set_of_keys_that_cannot_be_read_takes_nobodys_token() -> None:
    assert who(slice_asking(rule(keys=KeySource(jwks="{}"))), bearing(ONE.token())).failure == NO_KEYS


def test_a_preflight_is_asked_for_no_token() -> None:
    headers = [(b"origin", b"https://a.test"), (b"access-control-request-method", b"PUT")]
    bad = (b"authorization", b"Bearer a.b")
    prepared = slice_asking(rule())
    assert who(prepared, request(method="OPTIONS", headers=[*headers, bad])).failure == ""
    assert who(prepared, request(method="OPTIONS", headers=[headers[0], bad])).failure == FORM


# --- where it is looked for ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        request(headers=[(b"x-jwt", f"Value {ONE.token()}".encode())]),
        request(query=f"a=1&token={ONE.token()}"),
        request(headers=[(b"cookie", f"a=b; session={ONE.token()}".encode())]),
    ],
    ids=["header", "parameter", "cookie"],
)
def test_a_token_is_found_where_the_rule_looks_and_nowhere_else(head: RequestHead) -> None:
    asked = rule(headers=(TokenHeader("x-jwt", "Value "),), parameters=("token",), cookies=("session",))
    prepared = slice_asking(asked)
    assert who(prepared, head).token is not None
    assert who(prepared, bearing(ONE.token())).token is None


def test_without_a_place_it_is_the_authorization_or_the_querys_access_token() -> None:
    assert who(slice_asking(rule()), request(query=f"access_token={ONE.token()}")).token is not None


def test_two_tokens_where_one_rule_looks_refuse_the_request() -> None:
    prepared = slice_asking(rule())
    token = ONE.token()
    twice = [(b"authorization", f"Bearer {token}".encode())] * 2
    assert who(prepared, request(headers=twice)).failure == MULTIPLE
    assert who(prepared, bearing(token, query=f"access_token={token}")).failure == MULTIPLE
    assert who(prepared, request(query=f"access_token={token}&access_token={token}")).failure == MULTIPLE


def test_of_several_rules_the_one_of_the_issuer_takes_the_token() -> None:
    prepared = slice_asking(rule(ONE), rule(TWO))
    for issuer in (ONE, TWO):
        found = who(prepared, bearing(issuer.token()))
        assert found.token is not None
        assert found.token.issuer == issuer.name
    assert who(prepared, bearing(Issuer("https://three.test").token())).failure == UNKNOWN_ISSUER
    assert who(prepared, bearing(TWO.token(exp=1))).failure == EXPIRED


def test_tokens_of_two_rules_in_their_own_places_must_both_be_good() -> None:
    prepared = slice_asking(rule(ONE), rule(TWO, headers=(TokenHeader("x-two"),)))
    both = bearing(ONE.token())
    both.headers.append((b"x-two", TWO.token().encode()))
    found = who(prepared, both)
    assert found.token is not None
    assert (found.token.issuer, [one.issuer for one in found.further]) == (TWO.name, [ONE.name])
    assert admitted(prepared.chains["http", "http"], both, found).headers == []
    both.headers[1] = (b"x-two", TWO.token(exp=1).encode())
    assert who(prepared, both).failure == EXPIRED


def test_a_required_token_must_be_there() -> None:
    prepared = slice_asking(rule(ONE, required=True), rule(TWO, headers=(TokenHeader("x-two"),)))
    assert who(prepared, request()).failure == MISSING
    assert who(prepared, request(headers=[(b"x-two", TWO.token().encode())])).failure == MISSING
    assert who(prepared, bearing(ONE.token())).failure == ""


def test_a_required_token_is_not_replaced_by_anothers_in_its_place() -> None:
    prepared = slice_asking(rule(ONE), rule(TWO, required=True))
    assert who(prepared, bearing(ONE.token())).failure == UNKNOWN_ISSUER
    assert who(prepared, bearing(TWO.token())).failure == ""


# --- what the rest of the mesh sees ----------------------------------------------------------------------------------------------


def test_a_token_that_is_not_forwarded_is_gone() -> None:
    prepared = slice_asking(rule())
    assert seen(prepared, bearing(ONE.token())).headers == []
    head = seen(prepared, request(query=f"a=1&access_token={ONE.token()}&b=%20"))
    assert head.query == "a=1&b=%20"
    assert seen(prepared, request(query=f"access_token={ONE.token()}")).query is None


def test_a_forwarded_token_stays_where_it_was() -> None:
    head = bearing(ONE.token())
    assert seen(slice_asking(rule(forward=True)), head).headers == head.headers


def test_claims_are_told_in_headers_that_clients_cannot_write() -> None:
    asked = rule(
        payload_header="x-payload",
        claim_headers=(
            ClaimHeader("x-sub", "sub"),
            ClaimHeader("x-deep", "a.b"),
            ClaimHeader("x-number", "n"),
            ClaimHeader("x-half", "half"),
            ClaimHeader("x-yes", "yes"),
            ClaimHeader("x-list", "list"),
            ClaimHeader("x-none", "none"),
            ClaimHeader("x-evil", "evil"),
        ),
    )
    token = ONE.token(a={"b": "c"}, n=7, half=0.5, yes=True, list=["x"], evil="a\r\nb: c")
    head = bearing(token)
    head.headers += [(b"x-sub", b"root"), (b"x-none", b"root"), (b"x-payload", b"root")]
    prepared = slice_asking(asked)
    told = dict(seen(prepared, head).headers)
    payload = told.pop(b"x-payload")
    assert payload.decode() == token.split(".")[1]
    assert told == {
        b"x-sub": b"jo",
        b"x-deep": b"c",
        b"x-number": b"7",
        b"x-half": b"0.500000",
        b"x-yes": b"true",
        b"x-list": base64.b64encode(b'["x"]'),
    }
    assert seen(prepared, request(headers=[(b"x-sub", b"root"), (b"x-own", b"1")])).headers == [(b"x-own", b"1")]


def test_claims_that_are_lists_divided_by_spaces_are_lists() -> None:
    found = who(slice_asking(rule(listed=("scope",))), bearing(ONE.token(scope="a  b", other="a b")))
    assert found.token is not None
    assert (found.token.claims["scope"], found.token.claims["other"]) == (["a", "b"], "a b")


# --- routes and replies ----------------------------------------------------------------------------------------------------------


def taken(prepared: PreparedSlice, head: RequestHead) -> str:
    chain = prepared.chains["http", "http"]
    decision = decide(prepared, chain, seen(prepared, head), PEER, who(prepared, head))
    assert not decision.cacheable
    return decision.destinations[0].cluster if decision.destinations else f"{decision.reply and decision.reply.status}"


@pytest.mark.parametrize(
    ("match", "claims", "matches"),
    [
        (ClaimMatch(("group",), Exact("x")), {"group": "x"}, True),
        (ClaimMatch(("group",), Exact("x")), {"group": ["y", "x"]}, True),
        (ClaimMatch(("group",), Exact("x")), {"group": "y"}, False),
        (ClaimMatch(("group",), Exact("x")), {}, False),
        (ClaimMatch(("a", "b"), Prefix("x")), {"a": {"b": "xy"}}, True),
        (ClaimMatch(("a", "b"), Prefix("x")), {"a": "xy"}, False),
        (ClaimMatch(("group",), Regex("x.*")), {"group": ["xy"]}, True),
        (ClaimMatch(("n",), Exact("1")), {"n": 1}, False),
        (ClaimMatch(("group",), Exact("x"), invert=True), {"group": "x"}, False),
        (ClaimMatch(("group",), Exact("x"), invert=True), {"group": "y"}, True),
        (ClaimMatch(("group",), Exact("x"), invert=True), {}, True),
    ],
)
def test_a_route_may_ask_for_a_claim(match: ClaimMatch, claims: dict[str, object], matches: bool) -> None:
    prepared = slice_asking(rule(), routes=(route(cluster="b", claims=(match,)), route()))
    assert taken(prepared, bearing(ONE.token(**claims))) == ("b" if matches else "a")


def test_a_route_that_asks_for_a_claim_takes_no_request_without_a_token() -> None:
    prepared = slice_asking(rule(), routes=(route(cluster="b", claims=(ClaimMatch(("g",), Exact("x")),)),))
    assert taken(prepared, request(headers=[(b"@request.auth.claims.g", b"x")])) == "404"


def test_a_refused_token_is_answered_as_envoy_does() -> None:
    prepared = slice_asking(rule(audiences=("a",)))
    chain = prepared.chains["http", "http"]

    def answered(head: RequestHead) -> tuple[int, bytes, bytes, str]:
        reply = decide(prepared, chain, head, PEER, who(prepared, head)).reply
        assert reply is not None
        assert reply.flag == ""
        return reply.status, reply.body, dict(reply.headers)[b"www-authenticate"], reply.details

    head = bearing(ONE.token(exp=1), path="/x", query="y=1")
    head.headers.append((b"x-forwarded-proto", b"https"))
    challenge = b'Bearer realm="https://a.test/x?y=1", error="invalid_token"'
    assert answered(head) == (401, EXPIRED.encode(), challenge, "jwt_authn_access_denied{Jwt_is_expired}")
    assert answered(bearing(ONE.token(aud="b")))[:2] == (403, AUDIENCE.encode())
    missing = slice_asking(rule(required=True))
    decision = decide(missing, missing.chains["http", "http"], request(), PEER, who(missing, request()))
    assert decision.reply is not None
    assert decision.reply.headers == ((b"www-authenticate", b'Bearer realm="http://a.test/"'),)


def test_a_chain_that_names_tokens_which_the_slice_lacks_is_refused() -> None:
    chain = FilterChain("http", SOURCE, HttpChain("80", tokens="other"))
    listener = Listener("http", SOURCE, "gateway", GatewayPort(80), "http", (chain,))
    with pytest.raises(PrepareError, match="other"):
        prepared_of(listener, table(), cluster("a"), *host_sections("h", ("*",), (route(),)))


def test_tests_end_before_their_tokens() -> None:
    assert NOW < FAR
