"""From token rules to Envoy's filter for JSON Web Tokens (jwt_authn), and from questions about claims to matchers of what that filter found.

Envoy is given the keys that weft has read and found good, and fetches none itself: what ``snapshot.key_set`` refuses is no key there either.

Rules that look in one place share its token: one of them must take it. Rules in places of their own are asked each for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envoy.config.core.v3 import base_pb2, http_uri_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from google.protobuf import empty_pb2

from policies.match import ClaimMatch, Exact, Prefix, Present, StringMatch, Suffix
from policies.tokens import KeySource, TokenRule
from runtime.envoy.actions import UNRESOLVED
from runtime.envoy.messages import Message, milliseconds, regex, string_matcher
from snapshot.prepared import PreparedTokenRule, SignatureCheck
from snapshot.token_places import ACCESS_TOKEN, BEARER

NAME = "envoy.filters.http.jwt_authn"
TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
PAYLOAD = "payload"
"""Under which key the filter's metadata has the claims (Istio's)."""
_Requirement = config_pb2.JwtRequirement

Keys = Mapping[KeySource, SignatureCheck]


def token_filter(rules: tuple[PreparedTokenRule, ...], keys: Keys) -> Message:
    """The filter for the token rules of one chain, with the keys that there are now."""
    if not rules:
        return config_pb2.JwtAuthentication()
    requirement = _required([rule.rule for rule in rules])
    matches: tuple[dict[str, object], ...] = ({"prefix": "/"}, {"connect_matcher": {}})
    return config_pb2.JwtAuthentication(
        providers={_provider_name(number): _provider(rule, keys) for number, rule in enumerate(rules)},
        rules=[
            config_pb2.RequirementRule(match=route_components_pb2.RouteMatch(**match), requires=requirement)
            for match in matches
        ],
        bypass_cors_preflight=True,
    )


def _provider_name(number: int) -> str:
    return f"token-{number}"


def _provider(prepared: PreparedTokenRule, keys: Keys) -> Message:
    rule = prepared.rule
    held = prepared.keys or keys.get(rule.keys)
    kind = config_pb2.JwtProvider
    return kind(
        issuer=rule.issuer,
        audiences=rule.audiences,
        require_expiration=True,
        **({"local_jwks": base_pb2.DataSource(inline_string=held.written())} if held is not None else _no_keys()),
        forward=rule.forward,
        from_headers=[config_pb2.JwtHeader(name=one.name, value_prefix=one.prefix) for one in rule.headers],
        from_params=rule.parameters,
        from_cookies=rule.cookies,
        forward_payload_header=rule.payload_header,
        claim_to_headers=[
            config_pb2.JwtClaimToHeader(header_name=one.header, claim_name=one.claim) for one in rule.claim_headers
        ],
        payload_in_metadata=PAYLOAD,
        normalize_payload_in_metadata=kind.NormalizePayload(space_delimited_claims=rule.listed),
        clear_route_cache=True,
    )


def _no_keys() -> dict[str, Message]:
    """Keys that are nowhere to be had, so that no token is believed: Envoy takes no set without a key."""
    nowhere = http_uri_pb2.HttpUri(uri="https://keys.invalid/", cluster=UNRESOLVED, timeout=milliseconds(1000))
    return {"remote_jwks": config_pb2.RemoteJwks(http_uri=nowhere)}


def _required(rules: list[TokenRule]) -> Message:
    """What is asked of a request: in each place a token that one of its rules takes, where there is one, and those that must be there."""
    asked = [one for group in _sharing(rules) for one in _of_group(rules, group)]
    if len(asked) == 1:
        return asked[0]
    return _Requirement(requires_all=config_pb2.JwtRequirementAndList(requirements=asked))


def _of_group(rules: list[TokenRule], group: list[int]) -> list[Message]:
    """What rules ask that share a place. No rule is asked twice: a token that is not forwarded is gone after the first time."""
    required = [_named(number) for number in group if rules[number].required]
    if required:
        return required
    optional = [_any([_named(number), _Requirement(allow_missing=empty_pb2.Empty())]) for number in group]
    if len(group) == 1:
        return optional
    # As Istio asks it: one of them takes the token, or each takes what it finds, which is nothing.
    every = _Requirement(requires_all=config_pb2.JwtRequirementAndList(requirements=optional))
    return [_any([*(_named(number) for number in group), every])]


def _named(number: int) -> Message:
    return _Requirement(provider_name=_provider_name(number))


def _any(parts: list[Message]) -> Message:
    return _Requirement(requires_any=config_pb2.JwtRequirementOrList(requirements=parts))


def _sharing(rules: list[TokenRule]) -> list[list[int]]:
    """The rules by number, those together that look in a place of one another."""
    groups: list[tuple[set[object], list[int]]] = []
    for number, rule in enumerate(rules):
        places, members = set(_places(rule)), [number]
        for group in [one for one in groups if one[0] & places]:
            groups.remove(group)
            places |= group[0]
            members = [*group[1], *members]
        groups.append((places, members))
    return sorted((sorted(members) for _, members in groups), key=lambda members: members[0])


def _places(rule: TokenRule) -> Iterator[object]:
    asked = rule.headers or rule.parameters or rule.cookies
    yield from (("header", one.name) for one in (rule.headers if asked else (BEARER,)))
    yield from (("parameter", one) for one in (rule.parameters if asked else (ACCESS_TOKEN,)))
    yield from (("cookie", one) for one in rule.cookies)


# --- what is asked of claims -----------------------------------------------------------------------------------------------------


def claim_matcher(match: ClaimMatch) -> Message:
    """What a route asks of a claim."""
    return claim(match.path, _text_or_list(match.match), invert=match.invert)


def claim(path: tuple[str, ...], value: Message, *, invert: bool = False) -> Message:
    """A matcher of one claim, by the steps that lead to it."""
    segment = metadata_pb2.MetadataMatcher.PathSegment
    steps = [segment(key=step) for step in (PAYLOAD, *path)]
    return metadata_pb2.MetadataMatcher(filter=NAME, path=steps, value=value, invert=invert)


def asked_of_token(attribute: str, match: StringMatch) -> list[list[Message]] | None:
    """An attribute of the token (``request.auth...``) against one value, as alternatives of matchers that hold together.

    None where the attribute is none of these, or Envoy has no form for the question.
    """
    name, bracket, rest = attribute.partition("[")
    if name == "request.auth.claims" and bracket:
        return [[claim(tuple(rest[:-1].split("][")), _text_or_list(match))]]
    match attribute:
        case "request.auth.audiences":
            return [[claim(("aud",), _text_or_list(match))]]
        case "request.auth.presenter":
            return [[claim(("azp",), _text(match))]]
        case "request.auth.principal":
            return _principal(match)
    return None


def _principal(match: StringMatch) -> list[list[Message]] | None:
    """``issuer/subject`` against one value: each slash of the value may be the one between the two."""
    some = _nonempty(Present())
    match match:
        case Present():
            return [_bearer(some, some)]
        case Exact(value):
            return [
                _bearer(_text(Exact(left)), _text(Exact(right))) for left, right in _splits(value) if left and right
            ]
        case Prefix(value):
            split = [(_text(Exact(left)), _nonempty(Prefix(right))) for left, right in _splits(value) if left]
            return [_bearer(*one) for one in [(_nonempty(match), some), *split]]
        case Suffix(value):
            split = [(_nonempty(Suffix(left)), _text(Exact(right))) for left, right in _splits(value) if right]
            return [_bearer(*one) for one in [(some, _nonempty(match)), *split]]
        case _:
            return None


def _splits(value: str) -> Iterator[tuple[str, str]]:
    for at, letter in enumerate(value):
        if letter == "/":
            yield value[:at], value[at + 1 :]


def _bearer(issuer: Message, subject: Message) -> list[Message]:
    return [claim(("iss",), issuer), claim(("sub",), subject)]


def _text_or_list(match: StringMatch) -> Message:
    one = _text(match)
    items = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=one))
    return value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=[one, items]))


def _text(match: StringMatch) -> Message:
    return value_pb2.ValueMatcher(string_match=string_matcher(match))


def _nonempty(match: StringMatch) -> Message:
    """A text that is not empty and fulfils a match."""
    if isinstance(match, Present) or not getattr(match, "value", ""):
        return value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(safe_regex=regex(".+")))
    return _text(match)
