"""Secure naming: which certificates an upstream may show, by the cluster's own list."""

from __future__ import annotations

from collections.abc import Callable

from runtime.lane.tls_channel import TlsChannel
from runtime.tls.identity import PeerRefusedError, read_peer, require_listed
from snapshot.section import MeshUpstream, TlsUpstream, UpstreamTls


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


def name_matches(borne: str, wanted: str) -> bool:
    """A certificate's name against a wanted one; a wildcard stands for exactly one whole leftmost label (RFC 6125 section 6.4.3)."""
    borne, wanted = (borne, wanted) if "://" in borne else (borne.lower(), wanted.lower())
    if borne.startswith("*."):
        return "." in wanted and wanted.split(".", 1)[1] == borne[2:]
    return borne == wanted
