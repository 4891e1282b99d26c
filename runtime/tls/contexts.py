"""TLS contexts from live key material: one per (settings, purpose) and version of the material, made before anything needs them.

Private keys are handed to OpenSSL through an anonymous memory file: they are never on a disk. Session tickets are off wherever a client is
identified: a resumed session would skip the check of the certificate (CVE-2022-21654).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Hashable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from snapshot.live import Credential, Svid
from snapshot.section import DownstreamTls, MeshTls, MeshUpstream, ServerTls, TlsUpstream, UpstreamTls

MESH_ALPN = frozenset({"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"})
_MESH_SERVER_ALPN = ["istio-h2", "istio-http/1.1", "istio-peer-exchange", "istio", "h2", "http/1.1"]
# As Istio's sidecars say it: the mesh's names choose the chain, the plain ones are what an Envoy behind it agrees to.
_MESH_CLIENT_ALPN = {
    "http1": ["istio-http/1.1", "istio", "http/1.1"],
    "http2": ["istio-h2", "istio", "h2"],
    "tcp": ["istio-peer-exchange", "istio"],
}
_VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
_CURVES = {"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
MESH_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class MaterialError(Exception):
    """Key material that is missing or does not fit, or parameters that cannot be had; ``reason`` is closed: ``missing``, ``malformed``,
    ``key_mismatch``, ``parameters``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TlsMaterial:
    """The keys and certificates that this worker holds now. Owns the contexts made of them; new material makes new contexts for new
    connections and leaves the open ones alone."""

    def __init__(self) -> None:
        self.svid: Svid | None = None
        self._credentials: dict[str, Credential] = {}
        self._contexts: dict[Hashable, ssl.SSLContext] = {}

    @property
    def names(self) -> frozenset[str]:
        """The credential slots that are filled."""
        return frozenset(self._credentials)

    def set_svid(self, svid: Svid) -> None:
        """Takes a new SVID; raises MaterialError and keeps the old one where it does not work."""
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), svid.certificate_chain, svid.private_key, svid.identity)
        _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), svid.bundle, "the trust bundle")
        self.svid = svid
        self._contexts.clear()

    def set_credentials(self, credentials: Sequence[Credential]) -> list[MaterialError]:
        """Takes what fills the credential slots; one that does not work is reported and the slot keeps its last good one."""
        problems: list[MaterialError] = []
        taken: dict[str, Credential] = {}
        for credential in credentials:
            try:
                if credential.certificate_chain or credential.private_key:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    _load(context, credential.certificate_chain, credential.private_key, credential.name)
                if credential.ca:
                    _trust_slot(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), credential)
                taken[credential.name] = credential
            except MaterialError as error:
                problems.append(error)
                if credential.name in self._credentials:
                    taken[credential.name] = self._credentials[credential.name]
        if taken != self._credentials:
            self._credentials = taken
            self._contexts.clear()
        return problems

    def server(self, tls: DownstreamTls, *, http: bool, http2: bool) -> ssl.SSLContext:
        """The context for a downstream chain; raises MaterialError where its slots are not filled."""
        key = ("server", tls, http, http2)
        context = self._contexts.get(key)
        if context is None:
            match tls:
                case MeshTls():
                    context = self._mesh_server(tls, http2=http2)
                case ServerTls():
                    context = self._edge_server(tls)
                    if http:
                        context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
            self._contexts[key] = context
        return context

    def client(self, tls: UpstreamTls, protocol: str) -> ssl.SSLContext:
        """The context towards a cluster; raises MaterialError where its slots are not filled (never plain text instead)."""
        key = ("client", tls, protocol)
        context = self._contexts.get(key)
        if context is None:
            if isinstance(tls, MeshUpstream):
                context = self._mesh(tls, ssl.PROTOCOL_TLS_CLIENT)
                context.set_alpn_protocols(_MESH_CLIENT_ALPN[protocol])
            else:
                context = self._origination(tls)
                if protocol != "tcp":
                    context.set_alpn_protocols(["h2"] if protocol == "http2" else ["http/1.1"])
            self._contexts[key] = context
        return context

    def _mesh(self, tls: MeshTls | MeshUpstream, purpose: int) -> ssl.SSLContext:
        svid = self.svid
        if svid is None:
            raise MaterialError("missing", "this proxy has no identity yet")
        context = ssl.SSLContext(purpose)
        context.check_hostname = False  # SPIFFE IDs are compared instead, after the handshake (secure naming).
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = _VERSIONS[tls.min_version]
        context.set_ciphers(MESH_CIPHERS)
        hold_to(context, tls.ciphers)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        _load(context, svid.certificate_chain, svid.private_key, svid.identity)
        _trust(context, svid.bundle, "the trust bundle")
        return context

    def _mesh_server(self, tls: MeshTls, *, http2: bool) -> ssl.SSLContext:
        context = self._mesh(tls, ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        context.set_alpn_protocols([name for name in _MESH_SERVER_ALPN if http2 or "h2" not in name])
        return context

    def _edge_server(self, tls: ServerTls) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        hold_to(context, tls.ciphers, tls.curves)
        for name in tls.credentials:
            credential = self._slot(name)
            _load(context, credential.certificate_chain, credential.private_key, name)
        if tls.client != "none":
            _trust_slot(context, self._slot(tls.client_ca or tls.credentials[0]))
            context.verify_mode = ssl.CERT_REQUIRED if tls.client == "require" else ssl.CERT_OPTIONAL
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        return context

    def _origination(self, tls: TlsUpstream) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # The names of the cluster are compared after the handshake; they may be URIs.
        hold_to(context, tls.ciphers, tls.curves)
        if tls.skip_verify:
            context.verify_mode = ssl.CERT_NONE
        elif tls.ca:
            _trust_slot(context, self._slot(tls.ca))
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if tls.credential:
            slot = self._slot(tls.credential)
            _load(context, slot.certificate_chain, slot.private_key, tls.credential)
        return context

    def _slot(self, name: str) -> Credential:
        credential = self._credentials.get(name)
        if credential is None:
            raise MaterialError("missing", f"credential {name!r} is not there")
        return credential


def hold_to(context: ssl.SSLContext, ciphers: Sequence[str], curves: Sequence[str] = ()) -> None:
    """Allows these suites of TLS 1.2 and the first of these curves that can be had; nothing listed leaves what is. Raises MaterialError.

    Python's ssl is held to one curve at a time and knows those alone that OpenSSL numbers; early releases of 3.11 have no X25519 either.
    """
    if ciphers:
        try:
            context.set_ciphers(":".join(ciphers))
        except ssl.SSLError:
            raise MaterialError("parameters", f"OpenSSL has none of the cipher suites {', '.join(ciphers)}") from None
    if curves and not any(_hold_to_curve(context, _CURVES[name]) for name in curves if name in _CURVES):
        raise MaterialError("parameters", f"this engine cannot be held to {', '.join(curves)}; Envoy can")


def _hold_to_curve(context: ssl.SSLContext, name: str) -> bool:
    """Allows one curve alone; False where this Python cannot."""
    try:
        context.set_ecdh_curve(name)
    except (ValueError, ssl.SSLError):
        return False
    return True


def _load(context: ssl.SSLContext, chain: bytes, key: bytes, name: str) -> None:
    """Gives OpenSSL a certificate and key, which it only reads from a path."""
    fd = os.memfd_create("weft-credential", os.MFD_CLOEXEC)
    try:
        os.write(fd, chain.rstrip() + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    except ssl.SSLError as error:
        reason = "key_mismatch" if error.reason == "KEY_VALUES_MISMATCH" else "malformed"
        raise MaterialError(reason, f"{name}: {error.reason or error}") from None
    finally:
        os.close(fd)


def _trust_slot(context: ssl.SSLContext, credential: Credential) -> None:
    """Trusts a slot's CAs, and nothing of theirs that its revocation lists name. With lists every CA needs one (as in Envoy)."""
    _trust(context, credential.ca, credential.name)
    if not credential.crl:
        return
    fd = os.memfd_create("weft-revocations", os.MFD_CLOEXEC)
    try:
        os.write(fd, credential.crl)
        context.load_verify_locations(cafile=f"/proc/self/fd/{fd}")
    except ssl.SSLError as error:
        raise MaterialError("malformed", f"{credential.name}: the revocation list: {error.reason or error}") from None
    finally:
        os.close(fd)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _trust(context: ssl.SSLContext, bundle: bytes, name: str) -> None:
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
        context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in certificates))
    except (ValueError, ssl.SSLError) as error:
        raise MaterialError("malformed", f"{name}: {error}") from None
