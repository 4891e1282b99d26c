"""What a worker remembers of tokens, and what becomes of it when keys change."""

from __future__ import annotations

import pytest

from policies.authorization import Action, AuthorizationPolicy, Clause, Rule
from policies.head import Principal
from policies.match import Present
from policies.tokens import KeySource, TokenRule
from runtime import token_keys
from runtime.policy_change import request_allowed
from runtime.token_generation import TokenGeneration
from runtime.token_keys import TokenKeys
from snapshot.jwt import NO_KEY, NO_KEYS, UNVERIFIED, JwtError
from snapshot.live import FetchedKeys
from snapshot.prepared import PreparedTokenRule
from snapshot.section import FilterChain, GatewayPort, HttpChain, Listener, PolicySet, TokenSet
from tests.runtime.proxying import proxying
from tests.slices import PEER, SOURCE, cluster, host_sections, request, route, table
from tests.tokens import Issuer

ONE, TWO = Issuer(), Issuer()
SOURCE_OF_KEYS = KeySource(uri="https://issuer.test/keys")
RULE = PreparedTokenRule(TokenRule(SOURCE, ONE.name, SOURCE_OF_KEYS), None)


def fetched(issuer: Issuer) -> FetchedKeys:
    return FetchedKeys(SOURCE_OF_KEYS, issuer.jwks.encode())


def taken(keys: TokenKeys, token: str) -> str:
    try:
        keys.require_signed(keys.read(token), RULE)
    except JwtError as error:
        return str(error)
    return ""


def test_a_good_token_is_taken_apart_once() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    token = ONE.token()
    assert taken(keys, token) == ""
    assert keys.read(token) is keys.read(token)
    assert taken(keys, token) == ""


def test_a_bad_token_is_not_remembered() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    token = TWO.token()
    assert taken(keys, token) == UNVERIFIED
    assert keys.read(token) is not keys.read(token)


def test_what_other_keys_have_signed_is_asked_again() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    token = ONE.token()
    assert taken(keys, token) == ""
    keys.fill([fetched(TWO)])
    assert taken(keys, token) == UNVERIFIED
    keys.fill([fetched(ONE)])
    assert taken(keys, token) == ""


def test_keys_that_are_gone_take_nobodys_token() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    token = ONE.token()
    assert taken(keys, token) == ""
    keys.fill([])
    assert taken(keys, token) == NO_KEYS


def test_keys_that_cannot_be_read_leave_the_slot_empty() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    keys.fill([FetchedKeys(SOURCE_OF_KEYS, b"{}")])
    assert taken(keys, ONE.token()) == NO_KEYS


def test_slots_whose_keys_a_token_did_not_fit_are_told_once() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    assert taken(keys, TWO.token()) == UNVERIFIED
    assert keys.take_missed() == ()
    assert taken(keys, Issuer(key_id="new").token()) == NO_KEY
    assert keys.take_missed() == (SOURCE_OF_KEYS,)
    assert keys.take_missed() == ()


def test_keys_that_stay_are_not_read_again() -> None:
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    held = keys.sets[SOURCE_OF_KEYS]
    keys.fill([fetched(ONE)])
    assert keys.sets[SOURCE_OF_KEYS] is held


def test_no_more_is_remembered_than_the_bounds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_keys, "MAX_REMEMBERED", 3)
    keys = TokenKeys()
    keys.fill([fetched(ONE)])
    for number in range(10):
        assert taken(keys, ONE.token(number=number)) == ""
        assert len(keys._known) <= 3
    monkeypatch.setattr(token_keys, "MAX_CHARACTERS", 10)
    assert taken(keys, ONE.token(number=11)) == ""
    assert len(keys._known) == 1


@pytest.mark.integration
async def test_a_tunnel_whose_token_was_taken_out_is_still_its_bearers() -> None:
    chain = FilterChain("http", SOURCE, HttpChain("80", policies="policies", tokens="tokens"))
    bearers = Rule(SOURCE, sources=((Clause("request.auth.principal", (Present(),)),),))
    sections = (
        Listener("http", SOURCE, "gateway", GatewayPort(80), "http", (chain,)),
        table(),
        cluster("a", ("127.0.0.1", 9)),
        *host_sections("h", ("*",), (route(),)),
        PolicySet("policies", (AuthorizationPolicy(SOURCE, Action.ALLOW, (bearers,)),)),
        TokenSet("tokens", (TokenRule(SOURCE, ONE.name, KeySource(jwks=ONE.jwks)),)),
    )
    async with proxying(*sections) as proxy:
        generation = proxy.proxy.plane.generation
        assert isinstance(generation, TokenGeneration)
        held = generation.chains["http", "http"]
        head = request(headers=[(b"authorization", f"Bearer {ONE.token()}".encode())])
        plan = generation.plan(held, head, PEER)
        assert plan.decision.reply is None
        assert head.headers == []
        assert request_allowed(generation, held, head, PEER, plan.principal)
        assert not request_allowed(generation, held, head, PEER, Principal())
