"""What a certificate request must be before the authority looks at who sent it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runtime.control.certificates import LeafKey
from runtime.control.interface import Reason
from runtime.control.refusal import Refused

MAX_BYTES = 16_384
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
"""Verifying costs grow with the square of the modulus; nobody needs more for a certificate that lives a day."""


def require_request(pem: str) -> x509.CertificateSigningRequest:
    """Reads a PKCS#10 request and checks that its sender holds the key (RFC 2986 section 4.2); raises Refused (``csr``)."""
    if len(pem) > MAX_BYTES:
        raise Refused(Reason.CSR, f"the certificate request has {len(pem)} bytes; at most {MAX_BYTES} are read")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
    except (ValueError, UnicodeEncodeError):
        raise Refused(Reason.CSR, "the certificate request is not a PEM-encoded PKCS#10 request") from None
    if not request.is_signature_valid:
        raise Refused(Reason.CSR, "the certificate request is not signed by the key that it holds")
    return request


def require_key(request: x509.CertificateSigningRequest) -> LeafKey:
    """The request's key, where it is of a kind that the mesh uses (P-256, or RSA of 2048 to 4096 bits); raises Refused (``csr``)."""
    key = request.public_key()
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return key
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return key
        case _:
            raise Refused(Reason.CSR, "the request's key is neither ECDSA P-256 nor RSA of 2048 to 4096 bits")


def require_names(request: x509.CertificateSigningRequest, identity: str) -> None:
    """Refuses a request that asks for any name but ``identity``. None at all is fine: the authority knows who asks."""
    try:
        names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return
    except ValueError:
        raise Refused(Reason.CSR, "the certificate request's extensions cannot be read") from None
    if names != [x509.UniformResourceIdentifier(identity)]:
        asked = ", ".join(str(getattr(name, "value", name)) for name in names)
        raise Refused(Reason.IDENTITY, f"the request asks for {asked[:256]}; this caller may only be {identity}")
