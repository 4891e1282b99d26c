"""Who a TLS peer is: the SPIFFE ID that its certificate bears, by the rules of X.509-SVID.

OpenSSL has verified the chain by the time this is asked; what it does not know is SPIFFE: exactly one URI SAN, of the scheme ``spiffe``, on a
leaf that is no authority. The URI is compared as parsed bytes, so an embedded NUL is another name (CVE-2026-47778).
"""

from __future__ import annotations

import hashlib
import re

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

MAX_KNOWN = 4096
"""How many distinct certificates stay parsed; certificates live for hours and are shown on every connection."""

_SPIFFE = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)\Z")


class PeerRefusedError(Exception):
    """A certificate that chains to the bundle but is no acceptable peer; ``reason`` is closed and becomes a metric label."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PeerCertificate(msgspec.Struct, frozen=True, gc=False):
    """What weft reads from a peer's leaf: the SPIFFE ID ("" where it bears none), the other names, and the sha256 of the DER in hex.

    ``violation`` says why a certificate that claims a SPIFFE ID is no X.509-SVID ("" where it is one, or claims none).
    """

    identity: str
    trust_domain: str
    names: tuple[str, ...]
    fingerprint: str
    violation: str = ""


_known: dict[bytes, PeerCertificate] = {}


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
        extensions = certificate.extensions
    except ValueError as error:
        raise PeerRefusedError("malformed", f"the peer's certificate cannot be read: {error}") from None
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return PeerCertificate("", "", (), fingerprint)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    others = (
        *uris,
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )
    if not any(uri.lower().startswith("spiffe:") for uri in uris):
        return PeerCertificate("", "", others, fingerprint)
    violation = _violation(extensions, uris)
    identity = uris[0]
    shape = _SPIFFE.match(identity)
    if not violation and (shape is None or len(identity) > 2048 or _dotted(identity)):
        violation = f"{identity!r} is not a SPIFFE ID of a workload"
    if violation or shape is None:
        return PeerCertificate("", "", others, fingerprint, violation)
    return PeerCertificate(identity, shape.group(1), others, fingerprint)


def _dotted(identity: str) -> bool:
    return any(segment in (".", "..") for segment in identity.split("/"))


def _violation(extensions: x509.Extensions, uris: list[str]) -> str:
    """Which rule of X.509-SVID a leaf breaks (SPIFFE X509-SVID sections 2, 4.1 to 4.4), or ""."""
    if len(uris) != 1:
        return f"the certificate bears {len(uris)} URI names; an X.509-SVID bears exactly one"
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return "the leaf certificate is a certificate authority"
        if isinstance(value, x509.KeyUsage):
            if value.key_cert_sign or value.crl_sign:
                return "the leaf certificate may sign certificates or revocation lists"
            if not value.digital_signature:
                return "the leaf certificate may not sign (digitalSignature is missing)"
        if isinstance(value, x509.ExtendedKeyUsage):
            usages = set(value)
            if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= usages:
                return "the leaf certificate is not for both server and client authentication"
    return ""
