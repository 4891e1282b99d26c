"""What the origin shows to clusters that do TLS with it, and what it hears from them: the other half of each cluster's own rules."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from typing import Any

import trio
from cryptography import x509

from snapshot.section import Cluster, MeshUpstream, TlsUpstream, UpstreamTls
from tests.runtime.authority import Authority

ALPN = ["h2", "http/1.1", "istio-h2", "istio-http/1.1", "istio"]
_NAME = x509.DNSName("backend.test")


class Certificates:
    """A certificate for every server name, made when it is first asked for. Owns which names clusters expect to find in it.

    ``context`` is the server's, whoever asks; a client may show a certificate of the same authority."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._expected: dict[str, list[x509.GeneralName]] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.context = self._made([_NAME])
        self.context.sni_callback = self._choose

    def expect(self, clusters: Iterable[Cluster]) -> None:
        """Forgets what was expected before, and learns what these clusters look for."""
        self._expected.clear()
        self._contexts.clear()
        for cluster in clusters:
            if cluster.tls is not None:
                self._expected.setdefault(cluster.tls.server_name, []).extend(_names(cluster.tls))

    def heard(self, stream: trio.SSLStream[Any]) -> str:
        """Server name, protocol and identity of a client whose handshake is over."""
        name = next((name for name, context in self._contexts.items() if context is stream.context), "")
        shown = stream.getpeercert() or {}
        identity = [value for kind, value in shown.get("subjectAltName", ()) if kind == "URI"]
        return f"{name} {stream.selected_alpn_protocol()} {','.join(identity)}"

    def _choose(self, client: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        asked = name or ""
        if asked not in self._contexts:
            self._contexts[asked] = self._made([_NAME, *self._expected.get(asked, [])])
        client.context = self._contexts[asked]

    def _made(self, names: list[x509.GeneralName]) -> ssl.SSLContext:
        chain, key = self._authority.issue(*dict.fromkeys(names))
        context = self._authority.server_context_of(chain, key)
        context.set_alpn_protocols(ALPN)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self._authority.bundle.decode())
        return context


def can_serve(tls: UpstreamTls | None) -> bool:
    """Whether a certificate of ours can satisfy a cluster: not one that trusts the system's roots, or that accepts nobody."""
    match tls:
        case MeshUpstream():
            return bool(tls.identities)
        case TlsUpstream():
            return bool(tls.ca) or tls.skip_verify
        case None:
            return False


def _names(tls: UpstreamTls) -> list[x509.GeneralName]:
    if isinstance(tls, MeshUpstream):
        return [x509.UniformResourceIdentifier(tls.identities[0])]
    return [_name(one) for one in tls.names or (tls.server_name,) if one]


def _name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
