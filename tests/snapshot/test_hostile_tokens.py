"""Whatever comes as a token or as a key set: it is taken or refused by name, and nothing else ever happens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.tokens import KeySource, TokenHeader, TokenRule
from snapshot.jwt import ALGORITHMS, JwtError, read_jwt, require_audience, require_time
from snapshot.key_set import KeySetError, read_key_set, secret_keys
from snapshot.token_places import tokens_in, without_token
from tests.slices import SOURCE, request
from tests.tokens import Issuer

KEYS = read_key_set(
    json.dumps({"keys": [json.loads(Issuer(kind=kind, key_id=kind).jwks)["keys"][0] for kind in ("EC", "RSA", "OKP")]})
)
NAMES = (
    "alg",
    "kid",
    "typ",
    "cty",
    "crit",
    "b64",
    "jku",
    "jwk",
    "x5u",
    "x5c",
    "x5t",
    "zip",
    "enc",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(sorted(ALGORITHMS)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(NAMES), anything, max_size=6)
parts = st.one_of(
    objects.map(lambda one: json.dumps(one).encode()),
    anything.map(lambda one: json.dumps(one).encode()),
    st.binary(max_size=40),
).map(lambda raw: urlsafe_b64encode(raw).decode().rstrip("="))
headers = st.builds(
    lambda algorithm, more: {**more, "alg": algorithm}, st.sampled_from(sorted(ALGORITHMS)), objects
).map(lambda one: urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("="))
tokens = st.one_of(st.text(max_size=60), st.builds(lambda *three: ".".join(three), headers | parts, parts, parts))


@given(tokens)
@settings(max_examples=300, deadline=None)
def test_a_token_is_taken_apart_and_checked_or_refused(text: str) -> None:
    try:
        jwt = read_jwt(text)
        require_time(jwt, 1_700_000_000.0)
        require_audience(jwt, ("a",))
    except JwtError:
        pass
    try:
        KEYS.require_signed(read_jwt(text))
    except JwtError:
        return
    raise AssertionError("a token that nobody signed was taken")


FIELDS = ("kty", "crv", "x", "y", "n", "e", "d", "k", "kid", "alg", "use", "key_ops", "x5c")
WORDS = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "secp256k1", "sig", "enc", "verify", "AQAB", "AA", "ES256", "RS256"]
)
keys = st.dictionaries(st.sampled_from(FIELDS), WORDS | anything, max_size=8)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(keys | anything, max_size=3).map(lambda one: json.dumps({"keys": one}).encode()),
    )
)
@settings(max_examples=300, deadline=None)
def test_a_key_set_is_read_or_refused(raw: bytes) -> None:
    secret_keys(raw)
    try:
        found = read_key_set(raw)
    except KeySetError:
        return
    assert read_key_set(found.written()).written() == found.written()


RULE = TokenRule(
    SOURCE, "", KeySource(), headers=(TokenHeader("a", "Bearer "), TokenHeader("b")), parameters=("t",), cookies=("c",)
)
values = st.one_of(st.binary(max_size=30), st.sampled_from([b"Bearer a.b.c", b"c=x; c=y", b'c="x"', b";;c", b"Bearer"]))


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"cookie"]), values), max_size=4),
    st.none() | st.text(alphabet="t=&%a+1;", max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_places_are_looked_at_whatever_they_hold(head: list[tuple[bytes, bytes]], query: str | None) -> None:
    asked = request(headers=head, query=query)
    for place, _ in list(tokens_in(asked, RULE)):
        kept, rest = without_token(asked.headers, asked.query, place)
        if place.kind != "cookie":
            left = [one for one, _ in tokens_in(request(headers=kept, query=rest), RULE)]
            assert not any((one.kind, one.name) == (place.kind, place.name) for one in left)


def test_deep_json_is_refused() -> None:
    deep = urlsafe_b64encode(b'{"a":' * 5000 + b"1" + b"}" * 5000).decode().rstrip("=")
    for text in (f"{deep}.e30.AAAA", f"eyJhbGciOiJFUzI1NiJ9.{deep[:12_000]}.AAAA"):
        try:
            read_jwt(text)
        except JwtError:
            continue
        raise AssertionError("taken")
