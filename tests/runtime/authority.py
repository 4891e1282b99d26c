"""A certificate authority for tests: SVIDs and server certificates, made once per test."""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from snapshot.live import Credential, Svid

_SIGNS = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
_DAY = dt.timedelta(days=1)


class Authority:
    """A self-signed root that issues leaves."""

    def __init__(self, name: str = "test") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: x509.GeneralName, lives_s: float = 86_400.0, serial: int = 0) -> tuple[bytes, bytes]:
        """A leaf and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        # Python 3.13 judges certificates as strictly as RFC 5280 reads (section 4.2.1.1).
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + dt.timedelta(seconds=lives_s))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), private

    def svid(self, identity: str, *, lives_s: float = 86_400.0) -> Svid:
        chain, key = self.issue(x509.UniformResourceIdentifier(identity), lives_s=lives_s)
        return Svid(identity, chain, key, self.bundle, 0.0, 0.0)

    def credential(self, name: str, *hosts: str, serial: int = 0) -> Credential:
        chain, key = self.issue(*(x509.DNSName(host) for host in hosts), serial=serial)
        return Credential(name, chain, key, self.bundle)

    def revoking(self, *serials: int) -> bytes:
        """A list of revoked certificates, PEM."""
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - _DAY)
            .next_update(now + _DAY)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - _DAY).build()
            made = made.add_revoked_certificate(revoked)
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def client_context(self, shown: Svid | Credential | None = None) -> ssl.SSLContext:
        """A client's TLS that trusts this authority's servers whatever they are called, and shows a certificate where one is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.bundle.decode())
        if shown is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(shown.certificate_chain + shown.private_key)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def server_context(self, shown: Svid | Credential) -> ssl.SSLContext:
        """A server's TLS with this certificate."""
        return self.server_context_of(shown.certificate_chain, shown.private_key)

    def server_context_of(self, chain: bytes, key: bytes) -> ssl.SSLContext:
        """A server's TLS with a leaf and its key, PEM."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(chain + key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def identity(account: str, *, domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/default/sa/{account}"
