"""Certificates that nobody trusts, for the configuration that Envoy only judges: real keys never leave the supervisor's memory for that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runtime.envoy.messages import Message
from runtime.envoy.secrets import AUTHORITY, BUNDLE, of_pem

_DAY = dt.timedelta(days=1)


def placeholders(names: Iterable[str]) -> list[Message]:
    """A secret of the right kind for each name."""
    chain, key = _pair()
    return [
        of_pem(name, ca=chain) if name == BUNDLE or name.startswith(AUTHORITY) else of_pem(name, chain=chain, key=key)
        for name in sorted(set(names))
    ]


@cache
def _pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "placeholder.invalid")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
