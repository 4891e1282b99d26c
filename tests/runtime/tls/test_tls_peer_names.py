"""What headers may say of a peer's certificate: nothing in it can end a line or leave printable ASCII."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from runtime.tls.identity import read_peer


def certificate(subject: list[x509.NameAttribute[str]], *names: x509.GeneralName) -> bytes:
    """A self-signed certificate, DER."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name(subject)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_a_subject_is_written_from_its_end_as_openssl_does() -> None:
    attribute = x509.NameAttribute
    der = certificate(
        [
            attribute(NameOID.COUNTRY_NAME, "DE"),
            attribute(NameOID.ORGANIZATION_NAME, "A, B"),
            attribute(NameOID.COMMON_NAME, "client"),
            attribute(NameOID.EMAIL_ADDRESS, "a@b.test"),
        ],
        x509.DNSName("a.test"),
        x509.UniformResourceIdentifier("https://a.test/x"),
        x509.DNSName("b.test"),
    )
    peer = read_peer(der)
    assert peer.subject == r"emailAddress=a@b.test,CN=client,O=A\, B,C=DE"
    assert (peer.uris, peer.dns, peer.der) == (("https://a.test/x",), ("a.test", "b.test"), der)


def test_what_is_no_printable_ascii_is_escaped() -> None:
    peer = read_peer(certificate([x509.NameAttribute(NameOID.COMMON_NAME, "é\r\nx-forged: 1")]))
    assert peer.subject == r"CN=\C3\A9\0D\0Ax-forged: 1"
