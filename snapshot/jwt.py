"""A JSON Web Token taken apart: its header and claims as they are written, nothing of it believed yet (RFC 7515, RFC 7519, RFC 8725).

What is wrong with a token is said in Envoy's words, in the order in which Envoy looks: its form, its issuer, its time, its audience, its keys,
its signature. Operators and clients know them.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode

import msgspec

CLOCK_SKEW_S = 60
"""How far the issuer's clock and ours may be apart (Envoy)."""
MAX_TOKEN_CHARACTERS = 16_384

_PARTS = ("header", "payload", "signature")
_ENCODED = re.compile(r"[A-Za-z0-9_-]*\Z")

FORM = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
MISSING = "Jwt is missing"
MULTIPLE = "Found multiple Jwt tokens"
UNKNOWN_ISSUER = "Jwt issuer is not configured"
EXPIRED = "Jwt is expired"
NOT_YET = "Jwt not yet valid"
AUDIENCE = "Audiences in Jwt are not allowed"
NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"
NO_KEYS = "Jwks remote fetch is failed"
UNVERIFIED = "Jwt verification fails"

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""What may have signed a token: public keys only. A shared secret would have to stand in Git, and ``none`` is no signature."""


class JwtError(Exception):
    """A token that is not taken; the message is the reply's body."""


class Jwt(msgspec.Struct, frozen=True):
    """A token's parts. ``expires`` and ``begins`` are seconds since 1970, 0 where the token does not say."""

    text: str
    algorithm: str
    key_id: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: float
    begins: float
    claims: dict[str, object]
    critical: bool = False

    @property
    def payload(self) -> str:
        """The claims as they were signed, in base64url."""
        return self.text.split(".")[1]


def read_jwt(text: str) -> Jwt:
    """Takes a token apart; raises JwtError. Neither its signature nor its time has been looked at."""
    if not all(text.split(".")):
        raise JwtError(FORM)
    first, second = decoded_parts(text)
    header = _object(first, "header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise JwtError("Jwt header [alg] field is required and must be a string")
    if algorithm not in ALGORITHMS:
        raise JwtError("Jwt header [alg] is not supported")
    key_id = header.get("kid", "")
    if not isinstance(key_id, str):
        raise JwtError("Jwt header [kid] field is not a string")
    claims = _object(second, "payload")
    return Jwt(
        text=text,
        algorithm=algorithm,
        key_id=key_id,
        issuer=_text(claims, "iss"),
        subject=_text(claims, "sub"),
        audiences=_audiences(claims.get("aud", [])),
        expires=_time(claims, "exp"),
        begins=_time(claims, "nbf"),
        claims=claims,
        critical="crit" in header or "b64" in header,
    )


def decoded_parts(text: str) -> tuple[bytes, bytes]:
    """The header and the payload of a token in its compact form; raises JwtError where one of its three parts is not as it must be written."""
    parts = text.split(".")
    if len(parts) != 3 or len(text) > MAX_TOKEN_CHARACTERS:
        raise JwtError(FORM)
    header, payload, _ = (_decoded(part, name) for part, name in zip(parts, _PARTS, strict=True))
    return header, payload


def require_time(jwt: Jwt, now: float) -> None:
    """Raises JwtError where a token is not good now; one that never ends is never good (Envoy's strict form)."""
    if not jwt.expires:
        raise JwtError(UNVERIFIED)
    if jwt.begins > now + CLOCK_SKEW_S:
        raise JwtError(NOT_YET)
    if jwt.expires + CLOCK_SKEW_S < now:
        raise JwtError(EXPIRED)


def require_audience(jwt: Jwt, audiences: tuple[str, ...]) -> None:
    """Raises JwtError where a token is for none of some audiences. A scheme and a slash at the end do not tell audiences apart (Envoy)."""
    if audiences and not {_bare(one) for one in jwt.audiences} & {_bare(one) for one in audiences}:
        raise JwtError(AUDIENCE)


def listed(claims: dict[str, object], names: tuple[str, ...]) -> dict[str, object]:
    """The claims with those of some names as lists, where they are texts that spaces divide."""
    divided = {name: value.split(" ") for name in names if isinstance(value := claims.get(name), str)}
    return (
        {**claims, **{name: [one for one in values if one] for name, values in divided.items()}} if divided else claims
    )


def _decoded(part: str, name: str) -> bytes:
    """One part's bytes: base64url without padding, in the one form that there is of them (RFC 7515 section 2)."""
    if not _ENCODED.match(part) or len(part) % 4 == 1:
        raise JwtError(f"Jwt {name} is an invalid Base64url encoded")
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise JwtError(f"Jwt {name} is an invalid Base64url encoded") from None


def _object(raw: bytes, name: str) -> dict[str, object]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise JwtError(f"Jwt {name} is an invalid JSON")
    return found


def _text(claims: dict[str, object], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise JwtError(f"Jwt payload [{name}] field is not a string")
    return value


def _time(claims: dict[str, object], name: str) -> float:
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JwtError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < 2**63:
        raise JwtError(f"Jwt payload [{name}] field is not a positive integer")
    return float(value)


def _audiences(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise JwtError("Jwt payload [aud] field is not a string or string list")


def _bare(audience: str) -> str:
    return audience.removeprefix("https://").removeprefix("http://").removesuffix("/")
