"""Who a request is from: the first of the four pure steps, before routing, because routes may read claims."""

from __future__ import annotations

from collections.abc import Mapping

from policies.head import Peer, Principal, RequestHead
from snapshot.prepared import PreparedSlice

ANONYMOUS = Principal()


def authenticate(
    prepared: PreparedSlice, head: RequestHead | None, peer: Peer, keys: Mapping[str, bytes], now: float
) -> Principal:
    """The Principal of a request, or of a connection where ``head`` is None.

    ``keys`` are the JWKS that live data holds, by issuer, and ``now`` is in seconds since 1970. A slice of this format declares no token
    rules, so only the connection's verified certificate counts.
    """
    del prepared, head, keys, now
    return Principal(identity=peer.identity) if peer.identity else ANONYMOUS
