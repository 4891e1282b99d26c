"""Who a request is from: the first of the four pure steps, before routing, because routes may read claims.

    authenticate -> admitted -> decide -> resolve

A request without a token passes without identity. A token must be taken by one of the chain's rules, the first that does decides; one that none takes
refuses the request. So do two tokens where one rule looks: nobody can say which of them an application would believe.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Protocol

import msgspec

from policies.head import Headers, Peer, Principal, RequestHead, TokenIdentity, TokenPlace
from policies.tokens import KeySource
from snapshot.jwt import (
    MISSING,
    MULTIPLE,
    NO_KEYS,
    UNKNOWN_ISSUER,
    Jwt,
    JwtError,
    listed,
    read_jwt,
    require_audience,
    require_time,
)
from snapshot.prepared import PreparedChain, PreparedTokenRule, SignatureCheck
from snapshot.token_places import tokens_in, without_token

ANONYMOUS = Principal()


class Keys(Protocol):
    """What live data knows of keys, and what is remembered of tokens."""

    def read(self, text: str) -> Jwt:
        """Takes a token apart; raises JwtError."""

    def require_signed(self, jwt: Jwt, rule: PreparedTokenRule) -> None:
        """Raises JwtError unless the rule's keys, its own or those that fill its slot, have signed the token."""


class LiveKeys:
    """The key sets that fill slots, and no memory of tokens."""

    def __init__(self, sets: Mapping[KeySource, SignatureCheck]) -> None:
        self._sets = sets

    def read(self, text: str) -> Jwt:
        """See Keys."""
        return read_jwt(text)

    def require_signed(self, jwt: Jwt, rule: PreparedTokenRule) -> None:
        """See Keys. Where a slot is empty nobody is believed: there is no key that one could fall back to."""
        keys = rule.keys or self._sets.get(rule.rule.keys)
        if keys is None:
            raise JwtError(NO_KEYS)
        keys.require_signed(jwt)


NO_LIVE_KEYS = LiveKeys({})


def authenticate(chain: PreparedChain, head: RequestHead | None, peer: Peer, keys: Keys, now: float) -> Principal:
    """The Principal of a request, or of a connection where ``head`` is None. ``now`` is in seconds since 1970.

    A preflight (CORS) is asked for no token: browsers send none with it (Istio).
    """
    rules = chain.tokens
    if not rules or head is None or _is_preflight(head):
        return Principal(identity=peer.identity) if peer.identity else ANONYMOUS
    try:
        bearers = _bearers(rules, head, keys, now)
    except JwtError as error:
        return Principal(identity=peer.identity, failure=str(error))
    if not bearers:
        return Principal(identity=peer.identity) if peer.identity else ANONYMOUS
    return Principal(identity=peer.identity, token=bearers[-1], further=tuple(bearers[:-1]))


def _is_preflight(head: RequestHead) -> bool:
    if head.method != "OPTIONS":
        return False
    names = {name for name, value in head.headers if value}
    return b"origin" in names and b"access-control-request-method" in names


def _bearers(rules: tuple[PreparedTokenRule, ...], head: RequestHead, keys: Keys, now: float) -> list[TokenIdentity]:
    """Who bears a request's tokens, one for each place in which there is one, in the order of the rules; raises JwtError.

    Where a rule must be fulfilled, others that look in the same place have no say there.
    """
    found = [tuple(tokens_in(head, rule.rule)) for rule in rules]
    if any(len(places) > 1 for places in found):
        raise JwtError(MULTIPLE)
    asked = [(number, rule, *found[number][0]) for number, rule in enumerate(rules) if found[number]]
    settled = {place for _, rule, place, _ in asked if rule.rule.required}
    taken: list[tuple[int, TokenIdentity]] = []
    for number, rule in enumerate(rules):
        if not found[number]:
            if rule.rule.required:
                raise JwtError(MISSING)
            continue
        place, _ = found[number][0]
        if rule.rule.required:
            taken.append(_first([one for one in asked if one[0] == number], keys, now))
        elif place not in settled:
            settled.add(place)
            taken.append(_first([one for one in asked if one[2] == place], keys, now))
    taken.sort(key=lambda one: one[0])
    return [identity for _, identity in taken]


def _first(
    asked: list[tuple[int, PreparedTokenRule, TokenPlace, str]], keys: Keys, now: float
) -> tuple[int, TokenIdentity]:
    """Whose token it is in one place, by the first rule (and its number) that takes it; raises JwtError with what the best of them misses."""
    failure: JwtError | None = None
    for number, rule, place, text in asked:
        try:
            jwt = keys.read(text)
            _require(jwt, rule, keys, now)
        except JwtError as error:
            if failure is None or str(failure) == UNKNOWN_ISSUER:
                failure = error
        else:
            return number, _identity(jwt, rule, place)
    assert failure is not None
    raise failure


def _require(jwt: Jwt, rule: PreparedTokenRule, keys: Keys, now: float) -> None:
    """Raises JwtError with the first thing that is wrong with a token, in Envoy's order."""
    if rule.rule.issuer and jwt.issuer != rule.rule.issuer:
        raise JwtError(UNKNOWN_ISSUER)
    require_time(jwt, now)
    require_audience(jwt, rule.rule.audiences)
    keys.require_signed(jwt, rule)


def _identity(jwt: Jwt, rule: PreparedTokenRule, place: TokenPlace) -> TokenIdentity:
    return TokenIdentity(
        issuer=jwt.issuer,
        subject=jwt.subject,
        audiences=jwt.audiences,
        claims=listed(jwt.claims, rule.rule.listed),
        payload=jwt.payload,
        rule=rule.rule,
        place=place,
    )


def admitted(chain: PreparedChain, head: RequestHead, principal: Principal) -> RequestHead:
    """The request as everything after authentication sees it, and as it is forwarded; the same one where the chain takes no tokens.

    Headers that tell claims are never the client's. Unless it is forwarded, the token is gone.
    """
    if not chain.tokens:
        return head
    headers, query = head.headers, head.query
    if chain.claim_headers:
        headers = [pair for pair in headers if pair[0] not in chain.claim_headers]
    for token in (*principal.further, principal.token) if principal.token else ():
        if token.rule is not None and token.place is not None and not token.rule.forward:
            headers, query = without_token(headers, query, token.place)
        told = _told(token)
        names = {name for name, _ in told}
        headers = [*(pair for pair in headers if pair[0] not in names), *told]
    return msgspec.structs.replace(head, headers=headers, query=query)


def _told(token: TokenIdentity) -> Headers:
    """The headers by which an application is told of a token."""
    told: Headers = []
    if token.rule is None:
        return told
    if token.rule.payload_header:
        told.append((token.rule.payload_header.encode(), token.payload.encode()))
    for one in token.rule.claim_headers:
        value = _text(_claim(token.claims, one.claim))
        # A claim is the issuer's to write, but not a header's end, or another header.
        if value and value.isprintable():
            told.append((one.header.encode(), value.encode()))
    return told


def _claim(claims: Mapping[str, object], name: str) -> object:
    value: object = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    """A claim as a header's value: numbers as Envoy writes them, objects and lists as JSON in base64."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            whole = 0 <= value < 2**64 and math.floor(value) == value
            return str(int(value)) if whole else f"{value:f}"
        case dict() | list():
            return base64.b64encode(msgspec.json.encode(value, order="sorted")).decode()
        case _:
            return ""
