"""RequestAuthentication: whose tokens are taken, with Istio's defaults written out."""

from __future__ import annotations

import msgspec

from compiler.node import Document
from compiler.resources.cursor import Cursor, Labels, Positions
from compiler.resources.gateway_api import ObjectRef, object_ref
from compiler.resources.meta import Meta, open_document
from policies.tokens import DEFAULT_TIMEOUT_MS, ClaimHeader, KeySource, TokenHeader, TokenRule

ALWAYS_LISTED = ("scope", "permission")
"""Claims that Istio takes for lists divided by spaces whether it is told so or not."""


NO_KEYS = '{"keys": []}'


class TokenPolicy(msgspec.Struct, frozen=True):
    """A RequestAuthentication. Without ``selector`` and ``targets`` it is for its whole namespace."""

    meta: Meta
    selector: Labels
    targets: tuple[ObjectRef, ...]
    rules: tuple[TokenRule, ...]


def read_request_authentication(document: Document, positions: Positions) -> TokenPolicy:
    """A RequestAuthentication document."""
    meta, root = open_document(document, positions)
    spec = root.at("spec")
    if spec is None:
        return TokenPolicy(meta, (), (), ())
    selector = spec.at("selector")
    refs = [*spec.each("targetRefs"), *([single] if (single := spec.at("targetRef")) else [])]
    return TokenPolicy(
        meta=meta,
        selector=selector.labels("matchLabels") if selector else (),
        targets=tuple(object_ref(ref, meta.namespace, kind="Gateway") for ref in refs),
        rules=tuple(_rule(rule) for rule in spec.each("jwtRules")),
    )


def _rule(rule: Cursor) -> TokenRule:
    issuer = rule.text("issuer")
    headers = [(one.text("name").lower(), one.text("prefix")) for one in rule.each("fromHeaders")]
    return TokenRule(
        source=rule.source(),
        issuer=issuer,
        keys=_keys(rule, issuer),
        audiences=rule.texts("audiences"),
        headers=tuple(TokenHeader(*one) for one in headers),
        parameters=rule.texts("fromParams"),
        cookies=rule.texts("fromCookies"),
        forward=rule.flag("forwardOriginalToken"),
        payload_header=rule.text("outputPayloadToHeader").lower(),
        claim_headers=tuple(
            ClaimHeader(one.text("header").lower(), one.text("claim")) for one in rule.each("outputClaimToHeaders")
        ),
        listed=tuple(dict.fromkeys((*ALWAYS_LISTED, *rule.texts("spaceDelimitedClaims")))),
        required=rule.text("presence") == "REQUIRED",
    )


def _keys(rule: Cursor, issuer: str) -> KeySource:
    """The keys themselves, or where they are: at an address, or where the issuer says (OpenID Connect Discovery)."""
    jwks = rule.text("jwks")
    if jwks:
        return KeySource(jwks=_public(jwks))
    timeout_ms = rule.duration_ms("timeout") or DEFAULT_TIMEOUT_MS
    uri = rule.text("jwksUri") or rule.text("jwks_uri")
    return KeySource(uri=uri, timeout_ms=timeout_ms) if uri else KeySource(issuer=issuer, timeout_ms=timeout_ms)


def _public(jwks: str) -> str:
    """The public keys of a set, and nothing else: what is secret must not get into a snapshot. Of a set that is none, one without a key."""
    # The library that reads keys is loaded only where there are some.
    from snapshot.key_set import KeySetError, read_key_set

    try:
        return read_key_set(jwks).written()
    except KeySetError:
        return NO_KEYS
