"""Tokens in generated meshes: whose a chain takes, what its routes and policies ask of them, and requests that bear good ones and bad ones.

Two tokens where one rule looks, and cookies, are left to tests by hand: docs/reference/envoy-differences.md says why.
"""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from policies.authorization import Clause
from policies.match import ClaimMatch, Exact, HeaderMatch, Prefix, Present, Regex, Suffix
from policies.tokens import ClaimHeader, KeySource, TokenHeader, TokenRule
from snapshot.prepared import PreparedChain
from tests.slices import SOURCE
from tests.tokens import Issuer

TOLD = "x-claim"
_ISSUERS = tuple(Issuer(f"https://{name}.test/", key_id=name) for name in ("one", "two"))
_NOBODY = Issuer("https://nobody.test", key_id="one")
_FORGER = Issuer("https://one.test/", key_id="one")
_GROUPS = ("blue", "green", "red")

_texts = st.one_of(
    st.builds(Exact, st.sampled_from(_GROUPS)),
    st.builds(Prefix, st.sampled_from(["b", "gr"])),
    st.builds(Suffix, st.sampled_from(["e", "en"])),
    st.builds(Regex, st.sampled_from(["bl.*", "gre+n"])),
    st.just(Present()),
)
_paths = st.sampled_from([("groups",), ("scope",), ("sub",), ("deep", "group"), ("level",)])
claims = st.lists(st.builds(ClaimMatch, _paths, _texts, st.booleans()), max_size=1).map(tuple)
told = st.builds(lambda match: (HeaderMatch(TOLD, match),), _texts)
_principals = st.one_of(
    st.just(Present()),
    st.builds(Exact, st.sampled_from(["https://one.test//blue", "https://two.test//green"])),
    st.builds(Prefix, st.sampled_from(["https://one", "https://two.test//g"])),
    st.builds(Suffix, st.sampled_from(["ue", "test//green"])),
)
asked = st.one_of(
    st.builds(Clause, st.just("request.auth.principal"), st.builds(lambda one: (one,), _principals)),
    st.builds(Clause, st.just("request.auth.principal"), st.just(()), st.builds(lambda one: (one,), _principals)),
    st.builds(Clause, st.just("request.auth.audiences"), st.just((Exact("shop"),))),
    st.builds(Clause, st.just("request.auth.claims[groups]"), st.builds(lambda one: (one,), _texts)),
    st.builds(Clause, st.just("request.auth.claims[deep][group]"), st.just(()), st.just((Exact("blue"),))),
)


@st.composite
def rules(draw: st.DrawFn) -> tuple[TokenRule, ...]:
    """None, one or both issuers, in one place or each in its own; now and then without keys."""
    found = []
    for number in draw(st.sampled_from([(), (), (0,), (1,), (0, 1), (0, 1)])):
        issuer = _ISSUERS[number]
        place = draw(st.sampled_from(["", "", "header", "parameter"]))
        # Of two rules that tell one header Envoy loses the first one's.
        told_by = (
            ClaimHeader(TOLD if number == 0 else f"{TOLD}-{number}", "sub"),
            ClaimHeader(f"x-level-{number}", "level"),
        )
        keyless = draw(st.sampled_from([False] * 7 + [True]))
        found.append(
            TokenRule(
                SOURCE,
                issuer.name,
                KeySource(issuer=issuer.name) if keyless else KeySource(jwks=issuer.jwks),
                audiences=draw(st.sampled_from([(), ("shop",)])),
                headers=(TokenHeader(f"x-token-{number}", "Value "),) if place == "header" else (),
                parameters=(f"token-{number}",) if place == "parameter" else (),
                forward=draw(st.booleans()),
                payload_header=draw(st.sampled_from(["", f"x-payload-{number}"])),
                claim_headers=draw(st.sampled_from([(), told_by])),
                listed=draw(st.sampled_from([(), ("scope",)])),
                required=draw(st.sampled_from([False] * 5 + [True])),
            )
        )
    return tuple(found)


def borne(chain: PreparedChain, random: Random) -> tuple[list[tuple[str, str]], list[str]]:
    """What a request to a chain bears: headers, and parameters of its query. At most one token in each place."""
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    ours = {one.name for one in _ISSUERS}
    for prepared in chain.tokens:
        rule = prepared.rule
        # Nobody here can sign for the issuers of the conformance data.
        if random.random() < 0.35 or rule.issuer not in ours:
            continue
        token = _token(rule.issuer, random)
        if rule.headers:
            headers[rule.headers[0].name] = f"{rule.headers[0].prefix}{token}"
        elif rule.parameters:
            query[rule.parameters[0]] = token
        elif "access_token" not in query and "authorization" not in headers:
            if random.random() < 0.2:
                query["access_token"] = token
            else:
                headers["authorization"] = f"Bearer {token}"
    return list(headers.items()), [f"{name}={value}" for name, value in query.items()]


def _token(name: str, random: Random) -> str:
    issuer = next(one for one in _ISSUERS if one.name == name)
    claims = {
        "sub": random.choice(_GROUPS),
        "aud": random.choice(["shop", ["other", "shop"], "shop"]),
        "groups": random.choice([random.choice(_GROUPS), random.sample(_GROUPS, 2), [], 7]),
        "scope": random.choice(["blue", "blue green", "red  green "]),
        "deep": random.choice([{"group": "blue"}, {"group": ["green"]}, "blue"]),
        "level": random.choice([1, 2.5, True, "blue", ["blue"]]),
    }
    if random.random() < 0.75:
        return issuer.token(**claims)
    bad = [
        lambda: issuer.expired(**claims),
        lambda: issuer.token(**{**claims, "aud": "other"}),
        lambda: issuer.token(**{**claims, "nbf": 3_900_000_000}),
        lambda: issuer.token(**{**claims, "exp": None}),
        lambda: issuer.token(header={"kid": "another"}, **claims),
        lambda: _FORGER.token(**claims),
        lambda: _NOBODY.token(**claims),
        lambda: random.choice(["abc", "a.b.c", "YWJj.YWJj.YWJj", "eyJhbGciOiJub25lIn0.e30.AAAA"]),
    ]
    return random.choice(bad)()
