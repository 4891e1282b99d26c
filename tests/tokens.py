"""Issuers of tokens for tests: keys made here, JWK sets and tokens signed by them."""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

ISSUER = "https://issuer.test"
FAR = 4_000_000_000
"""A time after which no test runs."""


class Issuer:
    """One issuer with one key. ``kind`` is EC (quick to make), RSA or OKP."""

    def __init__(self, name: str = ISSUER, *, key_id: str = "one", kind: str = "EC") -> None:
        self.name = name
        made = {
            "EC": (lambda: ECKey.generate_key("P-256", {"kid": key_id}), "ES256"),
            "RSA": (lambda: RSAKey.generate_key(2048, {"kid": key_id}), "RS256"),
            "OKP": (lambda: OKPKey.generate_key("Ed25519", {"kid": key_id}), "EdDSA"),
        }[kind]
        self.key: Any = made[0]()
        self.algorithm = made[1]

    @property
    def jwks(self) -> str:
        """The public key as a JWK set."""
        return json.dumps({"keys": [self.key.as_dict(private=False)]})

    def token(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A signed token; ``iss``, ``sub`` and ``exp`` are there unless they are given, and what is None is left out."""
        said = {"iss": self.name, "sub": "jo", "exp": FAR, **claims}
        head = {"alg": self.algorithm, "kid": self.key.kid, **(header or {})}
        written = {name: value for name, value in said.items() if value is not None}
        named = {name: value for name, value in head.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode(named, written, self.key, algorithms=[self.algorithm])

    def expired(self, **claims: Any) -> str:
        """A token that was good an hour ago."""
        return self.token(exp=int(time.time()) - 3600, **claims)
