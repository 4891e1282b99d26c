"""The vocabulary of one exchange: what a request says, who sent it, what a reply says.

A head is parsed once and read many times, so it is a C-backed struct and its headers are raw byte pairs: names already
lower-case, values trimmed of optional white space, order and repetition as received. Nothing here waits or mutates.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from policies.tokens import TokenRule

Headers = list[tuple[bytes, bytes]]


class RequestHead(msgspec.Struct, gc=False):
    """One request's head after strict parsing.

    ``path`` is the path as policy sees it and as it is forwarded (RFC 3986 section 3.3, normalised once, before authorization);
    ``query`` excludes the question mark and is None where there was none. ``authority`` is as received;
    ``host`` is its host part lower-cased without port and without a trailing dot. Pseudo-headers, and ``host`` as a header,
    are never in ``headers``.
    """

    method: str
    scheme: str
    authority: str
    host: str
    path: str
    query: str | None
    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """All values of one header (lower-case name), in order."""
        return [value for key, value in self.headers if key == name]


class ResponseHead(msgspec.Struct, gc=False):
    """One response's head: the status and the headers, names lower-case."""

    status: int
    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """All values of one header (lower-case name), in order."""
        return [value for key, value in self.headers if key == name]


class Peer(msgspec.Struct, frozen=True, gc=False):
    """The downstream connection that a request arrived on; made once per connection.

    ``identity`` is the verified SPIFFE ID of the peer's certificate, or "" where the peer showed none. ``addresses`` is destination and source
    as the access log writes them (``ip:port ip:port``), made once because every line needs it. ``direct_ip`` is the address of the hop
    before where that said by the PROXY protocol who ``source_ip`` is, "" otherwise. ``intercepted`` says that the
    destination is where the connection was going before it was redirected here.
    """

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int
    identity: str = ""
    server_name: str = ""
    tls: bool = False
    addresses: str = ""
    direct_ip: str = ""
    intercepted: bool = False


class TokenPlace(NamedTuple):
    """Where a request carries a token: ``kind`` is ``header``, ``parameter`` or ``cookie``; ``number`` counts those of one name."""

    kind: str
    name: str
    number: int = 0


class TokenIdentity(msgspec.Struct, frozen=True):
    """The verified JWT of a request: issuer, subject and audiences, and the claims.

    ``payload`` is the claims as they were signed (base64url); ``rule`` took the token, from ``place``.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    claims: dict[str, object]
    payload: str = ""
    rule: TokenRule | None = None
    place: TokenPlace | None = None


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who a request is from: the connection's peer and, where a token was verified, its bearer. ``further`` are the tokens of other rules that
    came with it.

    ``failure`` is the reason why a presented credential was refused; such a request must be answered 401, or 403 where it is meant for others.
    """

    identity: str = ""
    token: TokenIdentity | None = None
    failure: str = ""
    further: tuple[TokenIdentity, ...] = ()
