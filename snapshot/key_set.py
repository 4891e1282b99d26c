"""Public keys of token issuers: a JWK set read strictly, and the check of a signature by it (RFC 7517, RFC 7518, RFC 8037).

Which algorithms a key may be used with follows from the key alone, never from the token. What is no public key for signatures, or a weak one, is
left out: secrets (``oct``), keys for encryption, RSA under 2,048 bits or with a modulus that its generator made guessable, points off their curve.
"""

from __future__ import annotations

import json
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from snapshot.jwt import NO_KEY, UNVERIFIED, Jwt, JwtError

MAX_SET_BYTES = 1024 * 1024
MAX_KEYS = 64
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_ODD_ALGORITHMS = {"ES521": "ES512"}
"""A name that RFC 7520 misspells, and keys in the wild with it."""

_GUESSABLE_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
"""Primes by which a modulus of a certain defective generator (ROCA, CVE-2017-15361) is always a power of 65537."""


class KeySetError(Exception):
    """Bytes that are no JWK set, or one without a key to use; the message says which."""


class PublicKey(msgspec.Struct, frozen=True):
    """One key. ``algorithms`` are those that it may be used with; ``written`` is it in JWK's form, with nothing that does not count."""

    key: Any
    key_id: str
    algorithms: tuple[str, ...]
    written: tuple[tuple[str, str], ...]


class KeySet(msgspec.Struct, frozen=True, eq=False):
    """The keys of one issuer, at least one."""

    keys: tuple[PublicKey, ...]

    def require_signed(self, jwt: Jwt) -> None:
        """Raises JwtError unless one of the keys that the token may mean has signed it.

        A token that names a key is checked by keys of that name, or without one; never by others.
        """
        fitting = [
            key
            for key in self.keys
            if jwt.algorithm in key.algorithms and (not jwt.key_id or not key.key_id or key.key_id == jwt.key_id)
        ]
        if not fitting:
            raise JwtError(NO_KEY)
        if jwt.critical or not any(_signed(jwt, key) for key in fitting):
            raise JwtError(UNVERIFIED)

    def written(self) -> str:
        """The set in JWK's form, for whoever is to check by the same keys."""
        return json.dumps({"keys": [dict(key.written) for key in self.keys]})


def _signed(jwt: Jwt, key: PublicKey) -> bool:
    try:
        with warnings.catch_warnings():
            # It warns of the name EdDSA, for which RFC 9864 has a better one; issuers use the old one.
            warnings.simplefilter("ignore", SecurityWarning)
            jws.deserialize_compact(jwt.text, key.key, algorithms=[jwt.algorithm])
    except (JoseError, ValueError):
        return False
    return True


def read_key_set(raw: bytes | str) -> KeySet:
    """The keys of a JWK set that may check signatures; raises KeySetError. Keys of other kinds are passed over (RFC 7517 section 5)."""
    if len(raw) > MAX_SET_BYTES:
        raise KeySetError(f"the key set has {len(raw)} bytes, at most {MAX_SET_BYTES} are read")
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeySetError("the key set is not JSON") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise KeySetError("the key set has no list of `keys`")
    if len(listed) > MAX_KEYS:
        raise KeySetError(f"the key set has {len(listed)} keys, at most {MAX_KEYS} are read")
    written = [one for one in listed if isinstance(one, dict)]
    _require_distinct(written)
    keys = tuple(_usable(written))
    if not keys:
        raise KeySetError("the key set has no public key that can check a signature")
    return KeySet(keys)


def secret_keys(raw: bytes | str) -> list[str]:
    """What holds a secret in a JWK set, by name or number: private keys and shared ones. Nothing where the bytes are no set."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    listed = found.get("keys") if isinstance(found, dict) else None
    keys = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [
        f"key `{one['kid']}`" if one.get("kid") else f"key number {number}"
        for number, one in enumerate(keys, 1)
        if one.get("kty") == "oct" or _SECRET & one.keys()
    ]


def _require_distinct(written: list[dict[str, Any]]) -> None:
    """Two keys of one name cannot be told apart, unless by their kind (RFC 7517 section 4.5); secrets do not stand beside public keys."""
    named = [(one["kid"], one.get("kty"), one.get("alg")) for one in written if one.get("kid")]
    if len(set(map(repr, named))) != len(named):
        raise KeySetError("the key set has two keys of one name (`kid`)")


def _usable(written: list[dict[str, Any]]) -> Iterator[PublicKey]:
    for one in written:
        try:
            key = _key(one)
        except (JoseError, ValueError, KeyError, TypeError):
            continue
        if key is not None:
            yield key


def _key(one: Mapping[str, Any]) -> PublicKey | None:
    """One key that may check signatures, None where it is for something else; raises what the library raises for one that is broken."""
    kind = one.get("kty")
    operations = one.get("key_ops", ["verify"])
    if kind not in _TYPES or one.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    key_id = one.get("kid", "")
    public = {"kty": kind, **{name: one[name] for name in _PUBLIC[kind]}}
    if not all(isinstance(value, str) for value in (key_id, *public.values())):
        return None
    algorithms = _algorithms(kind, public)
    stated = one.get("alg")
    if stated is not None:
        stated = _ODD_ALGORITHMS.get(stated, stated)
        algorithms = tuple(name for name in algorithms if name == stated)
    if kind == "RSA":
        modulus = public["n"]
        _require_strong(int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))))
    if not algorithms:
        return None
    named = {"kid": key_id} if key_id else {}
    said = {"alg": algorithms[0]} if len(algorithms) == 1 else {}
    return PublicKey(
        _TYPES[kind].import_key(public), key_id, algorithms, tuple({**public, **named, **said, "use": "sig"}.items())
    )


def _algorithms(kind: str, public: Mapping[str, Any]) -> tuple[str, ...]:
    if kind == "RSA":
        return _RSA
    curve = public["crv"]
    if kind == "OKP":
        return ("EdDSA",) if curve == "Ed25519" else ()
    return (_CURVES[curve],) if curve in _CURVES else ()


def _require_strong(modulus: int) -> None:
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise ValueError("an RSA key of a size that is not taken")
    if all(_is_power(modulus % prime, prime) for prime in _GUESSABLE_PRIMES):
        raise ValueError("an RSA key that can be guessed (ROCA)")


def _is_power(remainder: int, prime: int) -> bool:
    """Whether a remainder is a power of 65537 in the numbers modulo a prime."""
    power = 1
    for _ in range(prime - 1):
        if power == remainder:
            return True
        power = power * 65537 % prime
    return False
