"""Who a TLS peer is: the SPIFFE ID that its certificate bears, by the rules of X.509-SVID.

OpenSSL has verified the chain by the time this is asked; what it does not know is SPIFFE: exactly one URI SAN, of the scheme ``spiffe``, on a
leaf that is no authority. The URI is compared as parsed bytes, so an embedded NUL is another name (CVE-2026-47778).
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from policies.spiffe import SpiffeError, require_svid
from runtime.identity.certificate import leaf_facts

MAX_KNOWN = 4096
"""How many distinct certificates stay parsed; certificates live for hours and are shown on every connection."""


class PeerRefusedError(Exception):
    """A certificate that chains to the bundle but is no acceptable peer; ``reason`` is closed and becomes a metric label."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PeerCertificate(msgspec.Struct, frozen=True, gc=False):
    """What weft reads from a peer's leaf: the SPIFFE ID ("" where it bears none), all names, the sha256 of the DER in hex, and its notAfter
    (seconds since 1970).

    ``uris``, ``dns`` and ``subject`` (RFC 4514) are as headers may have them: what is not printable ASCII is escaped. ``violation`` says why a
    certificate that claims a SPIFFE ID is no X.509-SVID ("" where it is one, or claims none).
    """

    identity: str
    trust_domain: str
    names: tuple[str, ...]
    fingerprint: str
    expires_at: float
    violation: str = ""
    der: bytes = b""
    subject: str = ""
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()


_known: dict[bytes, PeerCertificate] = {}
_ATTRIBUTES = {NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber", NameOID.GIVEN_NAME: "GN"}
"""Names of attributes that OpenSSL, and so Envoy, writes out and RFC 4514 leaves as numbers."""


def read_peer(der: bytes) -> PeerCertificate:
    """Reads a verified leaf, once per distinct certificate. Raises PeerRefusedError (``malformed``) for DER that is no certificate."""
    key = hashlib.sha256(der).digest()
    found = _known.get(key)
    if found is None:
        found = _parse(der, key.hex())
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[key] = found
    return found


def require_identity(der: bytes | None, trust_domains: frozenset[str]) -> str:
    """The SPIFFE ID of a mesh peer; raises PeerRefusedError where there is none, or it is of a domain that is not ours or an alias of ours."""
    if der is None:
        raise PeerRefusedError("no_certificate", "the peer showed no certificate")
    peer = read_peer(der)
    if peer.violation:
        raise PeerRefusedError("not_an_svid", peer.violation)
    if not peer.identity:
        raise PeerRefusedError("no_identity", "the peer's certificate bears no SPIFFE ID")
    if peer.trust_domain not in trust_domains:
        raise PeerRefusedError("trust_domain", f"{peer.identity} is of another trust domain")
    return peer.identity


def require_listed(der: bytes | None, trust_domains: frozenset[str], identities: tuple[str, ...]) -> str:
    """Secure naming: the upstream's SPIFFE ID, which must be one of ``identities``; none listed accepts none. Raises PeerRefusedError."""
    identity = require_identity(der, trust_domains)
    if identity not in identities:
        listed = ", ".join(identities) or "none"
        raise PeerRefusedError("secure_naming", f"the upstream is {identity}, the cluster accepts {listed}")
    return identity


def certificate_der(pem: bytes) -> bytes:
    """The DER of the first certificate in PEM text; raises ValueError."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _parse(der: bytes, fingerprint: str) -> PeerCertificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _alternative_names(certificate.extensions)
    except ValueError as error:
        raise PeerRefusedError("malformed", f"the peer's certificate cannot be read: {error}") from None
    expires_at = certificate.not_valid_after_utc.timestamp()
    subject = _printable(certificate.subject.rfc4514_string(_ATTRIBUTES))
    if names is None:
        return PeerCertificate("", "", (), fingerprint, expires_at, der=der, subject=subject)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    dns = names.get_values_for_type(x509.DNSName)
    others = (*uris, *dns, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))
    identity, trust_domain, violation = "", "", ""
    if any(uri.lower().startswith("spiffe:") for uri in uris):
        try:
            found = require_svid(leaf_facts(certificate))
            identity, trust_domain = str(found), found.trust_domain
        except SpiffeError as error:
            violation = str(error)
    return PeerCertificate(
        identity=identity,
        trust_domain=trust_domain,
        names=others,
        fingerprint=fingerprint,
        expires_at=expires_at,
        violation=violation,
        der=der,
        subject=subject,
        uris=tuple(map(_printable, uris)),
        dns=tuple(map(_printable, dns)),
    )


def _printable(text: str) -> str:
    return "".join(one if " " <= one <= "~" else "".join(f"\\{byte:02X}" for byte in one.encode()) for one in text)


def _alternative_names(extensions: x509.Extensions) -> x509.SubjectAlternativeName | None:
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
