"""From PEM to what the rules of SPIFFE ask about; the one place here that reads certificates."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from policies.spiffe import LeafFacts, SpiffeError, SpiffeId, require_svid
from snapshot.live import Svid

T = TypeVar("T", bound=x509.ExtensionType)

MAX_CHAIN = 8
"""Certificates in one chain; more is refused before any of them is looked at."""


class ChainFacts(msgspec.Struct, frozen=True):
    """A chain that is an X.509-SVID: who it is, and its leaf's time in seconds since 1970."""

    identity: SpiffeId
    issued_at: float
    expires_at: float


def read_chain(pem: bytes) -> ChainFacts:
    """Reads a chain, leaf first, and checks leaf and intermediates by X509-SVID sections 2, 4 and 5; raises SpiffeError.

    Signatures are not checked here: that is TLS's work, with the trust bundle.
    """
    certificates = read_certificates(pem)
    leaf = certificates[0]
    identity = require_svid(leaf_facts(leaf))
    for authority in certificates[1:]:
        _require_authority(authority)
    return ChainFacts(identity, leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """At least one certificate from PEM; raises SpiffeError."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SpiffeError(f"not certificates in PEM: {error}") from None
    if not 0 < len(certificates) <= MAX_CHAIN:
        raise SpiffeError(f"a chain has 1 to {MAX_CHAIN} certificates, this one {len(certificates)}")
    return certificates


def leaf_facts(leaf: x509.Certificate) -> LeafFacts:
    """What X509-SVID has rules about, of one certificate; raises SpiffeError for extensions that cannot be read."""
    try:
        extensions = leaf.extensions
    except ValueError as error:
        raise SpiffeError(f"the certificate's extensions cannot be read: {error}") from None
    names = _value(extensions, x509.SubjectAlternativeName)
    usage = _value(extensions, x509.KeyUsage)
    constraints = _value(extensions, x509.BasicConstraints)
    extended = _value(extensions, x509.ExtendedKeyUsage)
    return LeafFacts(
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        authority=constraints.ca if constraints else False,
        key_usage_critical=usage is not None and extensions.get_extension_for_class(x509.KeyUsage).critical,
        digital_signature=usage.digital_signature if usage else False,
        signs_certificates=usage.key_cert_sign if usage else False,
        signs_revocations=usage.crl_sign if usage else False,
        extended_usages=frozenset(one.dotted_string for one in extended) if extended else None,
    )


def read_svid(certificate_chain: bytes, private_key: bytes, bundle: bytes) -> Svid:
    """An Svid from its three PEM parts, the key being the leaf's; raises SpiffeError."""
    facts = read_chain(certificate_chain)
    read_certificates(bundle)
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError) as error:
        raise SpiffeError(f"not a private key in PEM: {error}") from None
    if key.public_key() != read_certificates(certificate_chain)[0].public_key():
        raise SpiffeError("the private key is not the certificate's")
    return Svid(
        identity=str(facts.identity),
        certificate_chain=certificate_chain,
        private_key=private_key,
        bundle=bundle,
        issued_at=facts.issued_at,
        expires_at=facts.expires_at,
    )


def _require_authority(certificate: x509.Certificate) -> None:
    constraints = _value(certificate.extensions, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise SpiffeError("an intermediate of the chain is no certificate authority (CA is false)")
    usage = _value(certificate.extensions, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise SpiffeError("an intermediate of the chain may not sign certificates (keyCertSign is missing)")


def _value(extensions: x509.Extensions, shape: type[T]) -> T | None:
    try:
        return extensions.get_extension_for_class(shape).value
    except x509.ExtensionNotFound:
        return None
