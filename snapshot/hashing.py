"""Consistent hashing: what of a request is the key that decides its endpoint, and where that key falls.

Pure, and the same in every process and on both engines: the digest has no seed, so all workers of all proxies send one key to one endpoint.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from policies.head import Peer, RequestHead
from snapshot.section import ConsistentHash
from snapshot.xxhash import xxh64

KEYS = 1 << 64


@lru_cache(maxsize=16_384)
def place_of(key: tuple[bytes, ...]) -> int:
    """Where a key falls on every table. A key of several values chains their digests (Envoy)."""
    place = 0
    for part in key:
        place = xxh64(part, place)
    return place


def key_of(hashing: ConsistentHash, head: RequestHead | None, peer: Peer) -> tuple[bytes, ...]:
    """What of a request is hashed; nothing where it has nothing of the kind (Envoy then draws). ``head`` is None for plain TCP.

    A cookie that the request lacks and the proxy is to generate (``ttl_ms`` not None) has the value that ``set_cookie`` gives it.
    """
    if hashing.on == "source_ip":
        return (peer.source_ip.encode(),)
    if head is None:
        return ()
    if hashing.on == "header":
        # Sorted, so that one set of values is one key in whatever order they came.
        return tuple(sorted(head.values(hashing.name.encode())))
    if hashing.on == "query":
        value = _parameter(head.query or "", hashing.name)
        return (value.encode(),) if value is not None else ()
    cookie = _cookie(head, hashing.name) or (_generated(peer) if hashing.ttl_ms is not None else b"")
    return (cookie,) if cookie else ()


def _parameter(query: str, name: str) -> str | None:
    """The first value of a query parameter as it stands: hashing does not decode (Envoy)."""
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None


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
