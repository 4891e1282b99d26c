"""What a hop does to headers besides the route's edits: request ids, forwarding headers, the client's certificate, internal headers.

The facts are Envoy's as Istio configures it: a gateway trusts nothing from outside and says who came (edge); a sidecar's inbound side passes on and
appends the mTLS peer; its outbound side strips what only a proxy may claim. Whoever chooses an upstream says at which attempt.
Trace context (traceparent, b3 and their kin) passes untouched.
"""

from __future__ import annotations

from random import getrandbits

from policies.head import Headers, Peer, RequestHead

SERVER = (b"server", b"weft")
TRACE = b"x-weft-trace"
SNAPSHOT = b"x-weft-snapshot"
_INTERNAL = b"x-envoy-"
_CLIENT_CERTIFICATE = b"x-forwarded-client-cert"
_ELEMENTS_KEPT = 1024
_EDGE_ONLY = frozenset({b"x-forwarded-client-cert", b"x-request-id", b"x-forwarded-proto", TRACE})

_REPLACED = frozenset({b"content-length", b"x-envoy-upstream-service-time"})
_SERVICE_TIMES = {number: (b"x-envoy-upstream-service-time", b"%d" % number) for number in range(1000)}
_ATTEMPTS = b"x-envoy-attempt-count"
_FIRST_ATTEMPT = (_ATTEMPTS, b"1")
_FORWARDED_PROTO = {scheme: (b"x-forwarded-proto", scheme.encode()) for scheme in ("http", "https")}

Fields = dict[bytes, bytes]
Header = tuple[bytes, bytes]


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


_ids = RequestIds()


def count_attempt(head: RequestHead, number: int) -> None:
    """Says in a request that is sent again which attempt it is, where it said that of the first."""
    again = (_ATTEMPTS, b"%d" % number)
    head.headers = [again if pair[0] == _ATTEMPTS else pair for pair in head.headers]


class Rules:
    """The rules of one chain. ``direction`` is the listener's; ``edge`` says that downstream is outside the mesh."""

    __slots__ = ("_by", "_drop", "_drop_outside", "_elements", "_shows", "edge", "inbound", "overwrites_server")

    def __init__(self, *, direction: str, edge: bool, identity: str) -> None:
        self.edge = edge
        self.inbound = direction == "inbound"
        self.overwrites_server = not self.inbound
        self._by = identity
        self._shows = edge or self.inbound
        self._elements: dict[tuple[str, str], Header] = {}
        # The writer adds the length itself; the rest is this hop's to say.
        self._drop = _REPLACED | {b"server"} if self.overwrites_server else _REPLACED
        self._drop_outside = self._drop | {SNAPSHOT}

    def request(self, head: RequestHead, fields: Fields, peer: Peer, fingerprint: str) -> None:
        """Changes ``head.headers`` and keeps ``fields`` (the last value of each name) in step with it."""
        headers = head.headers
        if self.edge:
            headers = self._from_outside(headers, fields, peer)
        if b"x-request-id" not in fields:
            fields[b"x-request-id"] = identifier = _ids.draw()
            headers.append((b"x-request-id", identifier))
        if b"x-forwarded-proto" not in fields:
            headers.append(_FORWARDED_PROTO[head.scheme])
        if self.overwrites_server:
            if _ATTEMPTS in fields:
                headers = [pair for pair in headers if pair[0] != _ATTEMPTS]
            headers.append(_FIRST_ATTEMPT)
        if _CLIENT_CERTIFICATE in fields:
            headers = self._next_certificate(headers, fields, peer, fingerprint)
        elif peer.identity and self._shows:
            # Every request of one peer says the same.
            headers.append(
                self._elements.get((fingerprint, peer.identity)) or self._element(fingerprint, peer.identity)
            )
        head.headers = headers

    def _from_outside(self, headers: Headers, fields: Fields, peer: Peer) -> Headers:
        if not _EDGE_ONLY.isdisjoint(fields) or any(name.startswith(_INTERNAL) for name in fields):
            headers = [pair for pair in headers if pair[0] not in _EDGE_ONLY and not pair[0].startswith(_INTERNAL)]
            for name in [name for name in fields if name in _EDGE_ONLY or name.startswith(_INTERNAL)]:
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

    def _next_certificate(self, headers: Headers, fields: Fields, peer: Peer, fingerprint: str) -> Headers:
        """Where the header came in: SANITIZE_SET at the edge, APPEND_FORWARD inbound, stripped outbound (the application may not claim it)."""
        before = [value for name, value in headers if name == _CLIENT_CERTIFICATE]
        headers = [pair for pair in headers if pair[0] != _CLIENT_CERTIFICATE]
        del fields[_CLIENT_CERTIFICATE]
        if peer.identity and self._shows:
            name, element = self._element(fingerprint, peer.identity)
            headers.append((name, b",".join((*before, element)) if self.inbound and not self.edge else element))
        return headers

    def _element(self, fingerprint: str, identity: str) -> Header:
        """What this hop says of a peer; kept, in a table that is emptied when it is full."""
        by = f"By={self._by};" if self._by else ""
        element = (_CLIENT_CERTIFICATE, f'{by}Hash={fingerprint};Subject="";URI={identity}'.encode())
        if len(self._elements) >= _ELEMENTS_KEPT:
            self._elements.clear()
        self._elements[fingerprint, identity] = element
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
