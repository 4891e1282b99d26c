"""The three kinds of certificate that the authority makes, each by one function from facts to bytes.

    root           self-signed, may sign one more authority and nothing below it
    intermediate   signed by the root, signs leaves only
    leaf           an X.509-SVID (exactly one URI SAN) or the control plane's own server certificate (DNS names and addresses)

The facts of an SVID are the SPIFFE X.509-SVID specification's, sections 2 to 4: CA false, key usage critical with digitalSignature and
without keyCertSign or cRLSign, extended key usage for both server and client. The subject is empty, so the SAN is critical
(RFC 5280 section 4.2.1.6). All keys of ours are ECDSA P-256.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATE_S = 60.0
"""How far notBefore lies in the past, for proxies whose clock is a little behind."""

LeafKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Issuer(msgspec.Struct, frozen=True):
    """A certificate that may sign, with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(trust_domain: str, *, now: float, life_s: float) -> Issuer:
    """A self-signed root for one trust domain."""
    key = new_key()
    name = _authority_name(f"weft root CA {trust_domain}")
    builder = _builder(name, name, key.public_key(), now=now, until=now + life_s)
    builder = _as_authority(builder, trust_domain, path_length=1)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Issuer(builder.sign(key, hashes.SHA256()), key)


def make_intermediate(root: Issuer, trust_domain: str, *, now: float, life_s: float) -> Issuer:
    """An authority under the root that signs leaves only; it never outlives the root."""
    key = new_key()
    until = min(now + life_s, root.certificate.not_valid_after_utc.timestamp())
    subject = _authority_name(f"weft intermediate CA {trust_domain}")
    builder = _builder(subject, root.certificate.subject, key.public_key(), now=now, until=until)
    builder = _with_key_identifiers(_as_authority(builder, trust_domain, path_length=0), key.public_key(), root)
    return Issuer(builder.sign(root.key, hashes.SHA256()), key)


def make_svid(issuer: Issuer, key: LeafKey, identity: str, *, now: float, life_s: float) -> x509.Certificate:
    """An X.509-SVID for one SPIFFE ID; its life ends with the issuer's at the latest."""
    return _make_leaf(issuer, key, [x509.UniformResourceIdentifier(identity)], now=now, life_s=life_s)


def make_server(issuer: Issuer, key: LeafKey, hosts: Sequence[str], *, now: float, life_s: float) -> x509.Certificate:
    """A server certificate for host names and addresses, for the control plane itself. It bears no SPIFFE ID."""
    return _make_leaf(issuer, key, [_general_name(host) for host in hosts], now=now, life_s=life_s)


def chain_pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as PEM, in the given order."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM; the file's mode is what protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _make_leaf(
    issuer: Issuer, key: LeafKey, names: list[x509.GeneralName], *, now: float, life_s: float
) -> x509.Certificate:
    until = min(now + life_s, issuer.certificate.not_valid_after_utc.timestamp())
    builder = _builder(x509.Name([]), issuer.certificate.subject, key, now=now, until=until)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _with_key_identifiers(builder.add_extension(both, critical=False), key, issuer)
    return builder.sign(issuer.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: LeafKey, *, now: float, until: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - BACKDATE_S))
        .not_valid_after(_time(until))
    )


def _as_authority(builder: x509.CertificateBuilder, trust_domain: str, *, path_length: int) -> x509.CertificateBuilder:
    domain = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(domain, critical=False)
    )


def _with_key_identifiers(builder: x509.CertificateBuilder, key: LeafKey, issuer: Issuer) -> x509.CertificateBuilder:
    authority = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_name(text: str) -> x509.Name:
    # A common name holds at most 64 characters (RFC 5280 appendix A.1); the trust domain itself stands in the SAN.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
