"""Consistent hashing: what of a request is the key, and a ring on which each endpoint owns the keys before its points.

Pure, and the same in every process: the digest has no seed, so all workers of all proxies send one key to one endpoint. The number of
points per endpoint does not depend on how many endpoints there are (up to ``MAX_RING``), or else one that leaves would move the points, and
so the keys, of all others. That is why ``minimum_ring_size`` is met by points per endpoint and not divided between them as Envoy does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import unpack

from policies.head import Peer, RequestHead
from snapshot.query import parameter
from snapshot.section import ConsistentHash, Endpoint

POINTS = 512
"""Points of the heaviest endpoint; its share of the keys then errs by a twentieth of itself."""
MAX_POINTS = 2048
"""The most that a large ``minimum_ring_size`` gives; more would only make the ring slower to build."""
MAX_RING = 16_384
"""Points of a whole ring: a lane builds it between two requests. Beyond 32 endpoints each has fewer."""
KEYS = 1 << 64
_PER_DIGEST = 8


class Ring:
    """Endpoints by the keys that they own. Built once for a set of endpoints and never changed."""

    __slots__ = ("_owners", "_points")

    def __init__(self, hashing: ConsistentHash, endpoints: Sequence[Endpoint]) -> None:
        heaviest = max((endpoint.weight for endpoint in endpoints), default=1)
        most = max(POINTS, min(-(-hashing.minimum_ring_size // 2), MAX_POINTS))
        most = max(1, min(most, MAX_RING // max(len(endpoints), 1)))
        self._owners: dict[float, Endpoint] = {}
        for endpoint in endpoints:
            points = _points(endpoint.address, endpoint.port, max(1, most * endpoint.weight // heaviest))
            self._owners |= dict.fromkeys(points, endpoint)
        self._points = sorted(self._owners)

    def owner(self, place: int) -> Endpoint | None:
        """The endpoint that owns a place in [0, KEYS); None where there are no endpoints."""
        if not self._points:
            return None
        return self._owners[self._points[bisect_right(self._points, place) % len(self._points)]]


@lru_cache(maxsize=4096)
def _points(address: str, port: int, count: int) -> tuple[float, ...]:
    """The first ``count`` points of an endpoint. More points leave the earlier ones where they are. Floats, which sort five times faster."""
    found: list[float] = []
    for number in range(-(-count // _PER_DIGEST)):
        found += map(float, unpack(">8Q", blake2b(f"{address}:{port}_{number}".encode()).digest()))
    return tuple(found[:count])


def place_of(key: bytes) -> int:
    """Where a key falls on every ring."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


def key_of(hashing: ConsistentHash, head: RequestHead | None, peer: Peer) -> bytes | None:
    """What of a request is hashed; None where it has nothing of the kind (Envoy then draws). ``head`` is None for plain TCP.

    A cookie that the request lacks and the proxy is to generate (``ttl_ms`` not None) has the value that ``set_cookie`` gives it.
    """
    if hashing.on == "source_ip":
        return peer.source_ip.encode()
    if head is None:
        return None
    if hashing.on == "header":
        # Sorted, so that one set of values is one key in whatever order they came (Envoy's header hash).
        return b"\0".join(sorted(head.values(hashing.name.encode()))) or None
    if hashing.on == "query":
        value = parameter(head.query, hashing.name)
        return value.encode() if value is not None else None
    return _cookie(head, hashing.name) or (_generated(peer) if hashing.ttl_ms is not None else None)


def set_cookie(hashing: ConsistentHash, head: RequestHead, peer: Peer) -> bytes:
    """The Set-Cookie value for a request that came without the cookie it is hashed by; empty where none is generated."""
    if hashing.on != "cookie" or hashing.ttl_ms is None or _cookie(head, hashing.name):
        return b""
    parts = [f'{hashing.name}="{_generated(peer).decode()}"']
    if hashing.ttl_ms:
        parts.append(f"Max-Age={-(-hashing.ttl_ms // 1000)}")
    if hashing.path:
        parts.append(f"Path={hashing.path}")
    parts += [f"{name}={value}" if value else name for name, value in hashing.attributes]
    return "; ".join((*parts, "HttpOnly")).encode()


def _cookie(head: RequestHead, name: str) -> bytes:
    wanted = name.encode()
    for line in head.values(b"cookie"):
        for pair in line.split(b";"):
            key, _, value = pair.strip().partition(b"=")
            if key == wanted:
                return value.strip(b'"')
    return b""


def _generated(peer: Peer) -> bytes:
    """A client's new cookie is made from its connection, so that requests sent before the first answer go to one endpoint (Envoy)."""
    ends = f"{peer.source_ip}:{peer.source_port} {peer.destination_ip}:{peer.destination_port}"
    return blake2b(ends.encode(), digest_size=8).hexdigest().encode()
