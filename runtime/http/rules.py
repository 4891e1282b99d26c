"""What a hop does to headers besides the route's edits: request ids, forwarding headers, the client's certificate, internal headers.

The facts are Envoy's as Istio configures it: a gateway trusts nothing from outside and says who came (edge); a sidecar's inbound side passes on and
appends the mTLS peer; its outbound side strips what only a proxy may claim. Whoever chooses an upstream says at which attempt.
Trace context (traceparent, b3 and their kin) passes untouched.
"""

from __future__ import annotations

import ssl
from random import getrandbits
from typing import Protocol
from urllib.parse import quote

from policies.head import Headers, Peer, RequestHead
from policies.proxy_headers import (
    APPEND_FORWARD,
    SANITIZE_SET,
    USUAL,
    ProxyHeaders,
    certificate_mode,
    certificate_parts,
)
from runtime.tls.identity import PeerCertificate

SERVER = (b"server", b"weft")
TRACE = b"x-weft-trace"
SNAPSHOT = b"x-weft-snapshot"
_INTERNAL = b"x-envoy-"
CLIENT_CERTIFICATE = b"x-forwarded-client-cert"
EXTERNAL_ADDRESS = b"x-envoy-external-address"
_ELEMENTS_KEPT = 1024
EDGE_ONLY = frozenset({b"x-forwarded-client-cert", b"x-request-id", b"x-forwarded-proto", TRACE})
"""What clients outside may not claim."""

REPLACED = frozenset({b"content-length", b"x-envoy-upstream-service-time"})
_SERVICE_TIMES = {number: (b"x-envoy-upstream-service-time", b"%d" % number) for number in range(1000)}
ATTEMPTS = b"x-envoy-attempt-count"
FIRST_ATTEMPT = (ATTEMPTS, b"1")
FORWARDED_PROTO = {scheme: (b"x-forwarded-proto", scheme.encode()) for scheme in ("http", "https")}

Fields = dict[bytes, bytes]
Header = tuple[bytes, bytes]


class Client(Protocol):
    """Who a request is from. ``peer`` is set anew for each request that names somebody behind ``connection_peer``, whose connection it is."""

    peer: Peer

    @property
    def certificate(self) -> PeerCertificate | None:
        """What was shown on the connection."""

    @property
    def connection_peer(self) -> Peer:
        """The two ends of the connection."""


class RequestIds:
    """Identifiers in the form of a random UUID (version 4): 74 random bits, drawn anew every SERIES identifiers, and a counter.

    Unique, not secret. Drawing all bits for each one cost as much as the look-up of a route.
    """

    __slots__ = ("_next", "_stem")

    SERIES = 1 << 20

    def __init__(self) -> None:
        self._next = self.SERIES
        self._stem = ""

    def draw(self) -> bytes:
        """Another one."""
        number = self._next
        if number == self.SERIES:
            bits = f"{getrandbits(32):08x}-{getrandbits(16):04x}-4{getrandbits(12):03x}-{0x8000 | getrandbits(14):04x}-"
            self._stem = f"{bits}{getrandbits(28):07x}"
            number = 0
        self._next = number + 1
        return f"{self._stem}{number:05x}".encode()


request_ids = RequestIds()


def count_attempt(head: RequestHead, number: int) -> None:
    """Says in a request that is sent again which attempt it is, where it said that of the first."""
    again = (ATTEMPTS, b"%d" % number)
    head.headers = [again if pair[0] == ATTEMPTS else pair for pair in head.headers]


class Rules:
    """The rules of one chain. ``direction`` is the listener's; ``edge`` says that downstream is outside the mesh.

    ``own_server`` is the ``server`` header of replies that the proxy itself makes, where they have one; ``tells_path`` says that a request whose
    path was rewritten tells the one that it came with.
    """

    __slots__ = (
        "_appends",
        "_by",
        "_claimed",
        "_drop",
        "_drop_outside",
        "_elements",
        "_parts",
        "_shows",
        "edge",
        "inbound",
        "overwrites_server",
        "own_server",
        "tells_path",
    )

    def __init__(self, *, direction: str, edge: bool, identity: str, headers: ProxyHeaders = USUAL) -> None:
        self.edge = edge
        self.inbound = direction == "inbound"
        self.overwrites_server = not self.inbound
        self.own_server: list[Header] = [SERVER]
        self.tells_path = headers.internal
        mode = certificate_mode(headers, direction)
        self._by = identity
        self._shows = mode in (APPEND_FORWARD, SANITIZE_SET)
        self._appends = mode == APPEND_FORWARD
        self._parts = frozenset(certificate_parts(headers, direction))
        self._elements: dict[str, Header] = {}
        self._claimed = EDGE_ONLY
        # The writer adds the length itself; the rest is this hop's to say.
        self._drop = REPLACED | {b"server"} if self.overwrites_server else REPLACED
        self._drop_outside = self._drop | {SNAPSHOT}

    def request(self, head: RequestHead, fields: Fields, client: Client) -> None:
        """Changes ``head.headers`` and keeps ``fields`` (the last value of each name) in step with it."""
        headers = head.headers
        if self.edge:
            peer = client.peer
            headers = self._from_outside(headers, fields, peer)
            headers.append((EXTERNAL_ADDRESS, peer.source_ip.encode()))
        if b"x-request-id" not in fields:
            fields[b"x-request-id"] = identifier = request_ids.draw()
            headers.append((b"x-request-id", identifier))
        if b"x-forwarded-proto" not in fields:
            headers.append(FORWARDED_PROTO[head.scheme])
        if self.overwrites_server:
            if ATTEMPTS in fields:
                headers = [pair for pair in headers if pair[0] != ATTEMPTS]
            headers.append(FIRST_ATTEMPT)
        certificate = client.certificate
        if CLIENT_CERTIFICATE in fields:
            headers = self._next_certificate(headers, fields, certificate)
        elif certificate is not None and self._shows:
            # Every request of one peer says the same.
            headers.append(self._elements.get(certificate.fingerprint) or self._element(certificate))
        head.headers = headers

    def _from_outside(self, headers: Headers, fields: Fields, peer: Peer) -> Headers:
        claimed = self._claimed
        if not claimed.isdisjoint(fields) or any(name.startswith(_INTERNAL) for name in fields):
            headers = [pair for pair in headers if pair[0] not in claimed and not pair[0].startswith(_INTERNAL)]
            for name in [name for name in fields if name in claimed or name.startswith(_INTERNAL)]:
                del fields[name]
        source = peer.source_ip.encode()
        before = fields.get(b"x-forwarded-for")
        if before is not None:
            every = [value for name, value in headers if name == b"x-forwarded-for"]
            headers = [pair for pair in headers if pair[0] != b"x-forwarded-for"]
            source = b", ".join((*every, source))
        fields[b"x-forwarded-for"] = source
        headers.append((b"x-forwarded-for", source))
        return headers

    def _next_certificate(self, headers: Headers, fields: Fields, certificate: PeerCertificate | None) -> Headers:
        """Where the header came in: kept and added to, or replaced, where a certificate was shown; else it is nobody's to claim."""
        before = [value for name, value in headers if name == CLIENT_CERTIFICATE]
        headers = [pair for pair in headers if pair[0] != CLIENT_CERTIFICATE]
        del fields[CLIENT_CERTIFICATE]
        if certificate is not None and self._shows:
            name, element = self._element(certificate)
            headers.append((name, b",".join((*before, element)) if self._appends else element))
        return headers

    def _element(self, certificate: PeerCertificate) -> Header:
        """What this hop says of a peer; kept, in a table that is emptied when it is full."""
        parts, shown = [], self._parts
        if self._by:
            parts.append(f"By={self._by}")
        parts.append(f"Hash={certificate.fingerprint}")
        if "cert" in shown:
            parts.append(f'Cert="{quote(ssl.DER_cert_to_PEM_cert(certificate.der), safe="")}"')
        if "subject" in shown:
            parts.append(f'Subject="{certificate.subject}"')
        parts += [f"URI={uri}" for uri in certificate.uris if "uri" in shown]
        parts += [f"DNS={name}" for name in certificate.dns if "dns" in shown]
        element = (CLIENT_CERTIFICATE, ";".join(parts).encode())
        if len(self._elements) >= _ELEMENTS_KEPT:
            self._elements.clear()
        self._elements[certificate.fingerprint] = element
        return element

    def response(self, headers: Headers, fields: Fields, *, service_time_ms: int, stamp: bool) -> Headers:
        """The upstream's response headers as this hop passes them on. ``stamp``: hops may show their snapshots, also outside."""
        drop = self._drop if stamp or not self.edge else self._drop_outside
        if not drop.isdisjoint(fields):
            headers = [pair for pair in headers if pair[0] not in drop]
        if self.overwrites_server:
            headers.append(SERVER)
        headers.append(
            _SERVICE_TIMES.get(service_time_ms) or (b"x-envoy-upstream-service-time", b"%d" % service_time_ms)
        )
        return headers
