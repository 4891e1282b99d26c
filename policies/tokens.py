"""Whose tokens (JWT) are taken, where a request carries them, and what becomes of them, as data (Istio's RequestAuthentication)."""

from __future__ import annotations

import msgspec

from policies.source import SourceRef

DEFAULT_TIMEOUT_MS = 5_000


class KeySource(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a rule's public keys are: ``jwks`` is the key set itself, else ``uri`` leads to it, else the OpenID configuration of ``issuer`` does.

    Without ``jwks`` it is the slot that live data fills. ``timeout_ms`` is for one fetch.
    """

    jwks: str = ""
    uri: str = ""
    issuer: str = ""
    timeout_ms: int = DEFAULT_TIMEOUT_MS


class TokenHeader(msgspec.Struct, frozen=True, array_like=True):
    """A header (lower case) that carries a token, behind a prefix where there is one."""

    name: str
    prefix: str = ""


class ClaimHeader(msgspec.Struct, frozen=True, array_like=True):
    """A header (lower case) that tells the application a claim; a dot leads into one."""

    header: str
    claim: str


class TokenRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tokens of one issuer. An empty ``issuer`` is any; one of ``audiences`` must be the token's, where there are any.

    Without ``headers``, ``parameters`` and ``cookies`` a token is looked for behind ``Authorization: Bearer`` and in the query's ``access_token``.
    ``forward`` leaves it in the request. ``payload_header`` gets the claims as they were signed, in base64url. The claims in ``listed``
    are texts that a space divides into values. ``required`` refuses requests without such a token.
    """

    source: SourceRef
    issuer: str
    keys: KeySource
    audiences: tuple[str, ...] = ()
    headers: tuple[TokenHeader, ...] = ()
    parameters: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[ClaimHeader, ...] = ()
    listed: tuple[str, ...] = ()
    required: bool = False
