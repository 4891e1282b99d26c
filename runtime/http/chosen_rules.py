"""The header rules of proxies of which the mesh asks something unusual (policies.proxy_headers); the usual ones pay nothing for them."""

from __future__ import annotations

import ipaddress

import msgspec

from policies.head import Headers, Peer, RequestHead
from policies.proxy_headers import ALWAYS_FORWARD_ONLY, FORWARD_ONLY, USUAL, ProxyHeaders, certificate_mode
from runtime.http.rules import (
    ATTEMPTS,
    CLIENT_CERTIFICATE,
    EDGE_ONLY,
    EXTERNAL_ADDRESS,
    FIRST_ATTEMPT,
    FORWARDED_PROTO,
    REPLACED,
    SNAPSHOT,
    Client,
    Fields,
    Rules,
    request_ids,
)

_SCHEMES = {b"http": "http", b"https": "https"}
_SERVICE_TIME = b"x-envoy-upstream-service-time"


def rules_of(headers: ProxyHeaders, *, direction: str, edge: bool, identity: str) -> Rules:
    """The rules of one chain of a proxy."""
    if headers == USUAL:
        return Rules(direction=direction, edge=edge, identity=identity)
    return ChosenRules(direction=direction, edge=edge, identity=identity, headers=headers)


def client_address(forwarded: list[bytes], skipped: int) -> str:
    """The address in x-forwarded-for before the last ``skipped`` ones; "" where none is there."""
    addresses = b",".join(forwarded).split(b",")
    if len(addresses) <= skipped:
        return ""
    try:
        return str(ipaddress.ip_address(addresses[-1 - skipped].strip().decode("latin-1")))
    except ValueError:
        return ""


class ChosenRules(Rules):
    """The rules of one chain of a proxy that chooses. Behind trusted proxies a request's client is whom they say that it is."""

    __slots__ = ("_chosen", "_hops", "_passes", "_passes_shown")

    def __init__(self, *, direction: str, edge: bool, identity: str, headers: ProxyHeaders) -> None:
        super().__init__(direction=direction, edge=edge, identity=identity, headers=headers)
        mode = certificate_mode(headers, direction)
        self._chosen = headers
        self._hops = headers.trusted_hops if edge else 0
        self._passes = mode == ALWAYS_FORWARD_ONLY
        self._passes_shown = mode == FORWARD_ONLY
        believed = {CLIENT_CERTIFICATE} if self._passes or self._passes_shown or self._appends else set()
        if self._hops:
            believed.add(b"x-forwarded-proto")
        if not headers.request_ids:
            believed.add(b"x-request-id")
        self._claimed = EDGE_ONLY - believed
        if headers.server is not None:
            self.overwrites_server = bool(headers.server)
            self.own_server = [(b"server", headers.server.encode())] if headers.server else []
        replaced = REPLACED if headers.internal else REPLACED - {_SERVICE_TIME}
        self._drop = replaced | {b"server"} if self.overwrites_server else replaced
        self._drop_outside = self._drop | {SNAPSHOT}

    def request(self, head: RequestHead, fields: Fields, client: Client) -> None:
        """See Rules."""
        headers, chosen = head.headers, self._chosen
        if self.edge:
            headers = self._arrived(head, fields, client)
        if chosen.request_ids and b"x-request-id" not in fields:
            fields[b"x-request-id"] = identifier = request_ids.draw()
            headers.append((b"x-request-id", identifier))
        if b"x-forwarded-proto" not in fields:
            headers.append(FORWARDED_PROTO[head.scheme])
        elif self._hops:
            # Whoever is trusted to say who the client is has ended its TLS, too (Envoy).
            head.scheme = _SCHEMES.get(fields[b"x-forwarded-proto"].lower(), head.scheme)
        if chosen.attempts and not self.inbound:
            if ATTEMPTS in fields:
                headers = [pair for pair in headers if pair[0] != ATTEMPTS]
            headers.append(FIRST_ATTEMPT)
        head.headers = self._certified(headers, fields, client)

    def _arrived(self, head: RequestHead, fields: Fields, client: Client) -> Headers:
        """What came from outside, without what nobody there may say. The next hop is told of the connection's peer, and who the client is."""
        connection = client.connection_peer
        if self._hops:
            address = client_address(head.values(b"x-forwarded-for"), self._hops - 1)
            client.peer = _behind(connection, address) if address else connection
        headers = self._from_outside(head.headers, fields, connection)
        headers.append((EXTERNAL_ADDRESS, client.peer.source_ip.encode()))
        return headers

    def _certified(self, headers: Headers, fields: Fields, client: Client) -> Headers:
        certificate = client.certificate
        if self._passes or (self._passes_shown and certificate is not None):
            return headers
        if CLIENT_CERTIFICATE in fields:
            return self._next_certificate(headers, fields, certificate)
        if certificate is not None and self._shows:
            headers.append(self._elements.get(certificate.fingerprint) or self._element(certificate))
        return headers

    def response(self, headers: Headers, fields: Fields, *, service_time_ms: int, stamp: bool) -> Headers:
        """See Rules."""
        drop = self._drop if stamp or not self.edge else self._drop_outside
        if not drop.isdisjoint(fields):
            headers = [pair for pair in headers if pair[0] not in drop]
        if self.overwrites_server:
            headers += self.own_server
        if self._chosen.internal:
            headers.append((_SERVICE_TIME, b"%d" % service_time_ms))
        return headers


def _behind(connection: Peer, address: str) -> Peer:
    """A client behind the peer of a connection. Its port is known to nobody, and written as 0 (Envoy)."""
    return msgspec.structs.replace(
        connection,
        source_ip=address,
        source_port=0,
        direct_ip=connection.direct_ip or connection.source_ip,
        addresses=f"{connection.destination_ip}:{connection.destination_port} {address}:0",
    )
