"""Secure naming: which certificates an upstream may show, by the cluster's own list."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.lane.tls_channel import TlsChannel
from runtime.tls.identity import PeerRefusedError, read_peer, require_listed
from snapshot.section import MeshUpstream, ServerTls, TlsUpstream, UpstreamTls


class UpstreamRefusedError(OSError):
    """The upstream's certificate chains to what we trust, but is not that of the cluster."""


def vetting(tls: UpstreamTls, trust_domains: frozenset[str]) -> Callable[[TlsChannel], None]:
    """The check that runs once per upstream connection, after the handshake and before the first byte of a request."""

    def vet(channel: TlsChannel) -> None:
        der = channel.peer_certificate
        try:
            if isinstance(tls, MeshUpstream):
                require_listed(der, trust_domains, tls.identities)
            elif not tls.skip_verify:
                require_name(der, tls)
        except PeerRefusedError as error:
            raise UpstreamRefusedError(str(error)) from None

    return vet


def require_name(der: bytes | None, tls: TlsUpstream) -> None:
    """The certificate must bear one of the cluster's names, or the server name where it lists none; raises PeerRefusedError."""
    if der is None:
        raise PeerRefusedError("no_certificate", "the upstream showed no certificate")
    wanted = tls.names or (tls.server_name,)
    borne = read_peer(der).names
    for name in wanted:
        for candidate in borne:
            if name_matches(candidate, name):
                return
    raise PeerRefusedError("secure_naming", f"the upstream's certificate bears none of {', '.join(wanted)}")


def require_client(der: bytes, tls: ServerTls) -> None:
    """A client's certificate must be one that the server lists, where it lists any; raises PeerRefusedError."""
    shown = read_peer(der)
    if tls.names and not any(name_matches(borne, name) for name in tls.names for borne in shown.names):
        raise PeerRefusedError("secure_naming", f"the client's certificate bears none of {', '.join(tls.names)}")
    if (tls.hashes or tls.keys) and shown.fingerprint not in tls.hashes and key_hash(der) not in tls.keys:
        raise PeerRefusedError("not_pinned", "the client's certificate is none of those that are listed")


def key_hash(der: bytes) -> str:
    """The sha256 of a certificate's public key in base64, by which keys are pinned (RFC 7469 section 2.4)."""
    key = x509.load_der_x509_certificate(der).public_key()
    return b64encode(
        hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


def name_matches(borne: str, wanted: str) -> bool:
    """A certificate's name against a wanted one; a wildcard stands for exactly one whole leftmost label (RFC 6125 section 6.4.3)."""
    borne, wanted = (borne, wanted) if "://" in borne else (borne.lower(), wanted.lower())
    if borne.startswith("*."):
        return "." in wanted and wanted.split(".", 1)[1] == borne[2:]
    return borne == wanted
