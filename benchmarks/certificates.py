"""Certificates for the TLS works: one root, one leaf that every server and client shares. P-256, as the mesh's own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY = "spiffe://bench.test/ns/bench/sa/proxy"
TRUST_DOMAIN = "bench.test"
SERVER_NAME = "bench.test"


class Certificates(msgspec.Struct, frozen=True):
    """Files: the root, the leaf with its key, and both in one file as haproxy wants them."""

    root: Path
    leaf: Path
    key: Path
    both: Path


def make_certificates(folder: Path) -> Certificates:
    """Makes the files of one benchmark run; they live a day."""
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark root")])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    signing = _usage(signs=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _builder(name, name, root_key)
        .add_extension(authority, critical=True)
        .add_extension(signing, critical=True)
        .add_extension(identifier, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    names = [
        x509.UniformResourceIdentifier(IDENTITY),
        x509.DNSName(SERVER_NAME),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    both_ways = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = (
        _builder(x509.Name([]), name, leaf_key)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(both_ways, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    files = Certificates(folder / "root.pem", folder / "leaf.pem", folder / "leaf.key", folder / "both.pem")
    pem = serialization.Encoding.PEM
    key = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.root.write_bytes(root.public_bytes(pem))
    files.leaf.write_bytes(leaf.public_bytes(pem))
    files.key.write_bytes(key)
    files.key.chmod(0o600)
    files.both.write_bytes(leaf.public_bytes(pem) + key)
    return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    flags = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **flags)
