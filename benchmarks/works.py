"""What is asked of the proxies. Each work is data; the targets turn it into their own configuration."""

from __future__ import annotations

import msgspec

BODY_BYTES = 1024
HOST = "bench.test"


class Work(msgspec.Struct, frozen=True):
    """One row of the table.

    ``hops`` counts proxies in a row; ``origin_tls`` and ``hop_tls`` say where mutual TLS is spoken (to the origin; between the two proxies).
    ``http2`` is prior-knowledge HTTP/2 on both sides. ``routes`` is how many paths one virtual host tells apart; the last is asked for.
    """

    name: str
    about: str
    hops: int = 1
    http2: bool = False
    origin_tls: bool = False
    hop_tls: bool = False
    routes: int = 1

    @property
    def path(self) -> str:
        """The path that the load asks for: below the last route."""
        return f"/route-{self.routes - 1}/item"


WORKS = (
    Work("h1-plain", "HTTP/1.1 in and out, plain"),
    Work("mtls-hop", "plain in, mutual TLS out to an origin that asks for a certificate", origin_tls=True),
    Work("mtls-pair", "two proxies in a row, mutual TLS between them", hops=2, hop_tls=True),
    Work("h2-h2", "HTTP/2 in and out, plain, 8 connections of 16 streams", http2=True),
    Work("routes-10", "as h1-plain, 10 routes, the last one asked for", routes=10),
    Work("routes-10000", "as h1-plain, 10,000 routes, the last one asked for", routes=10_000),
)


def route_prefix(number: int) -> str:
    """The path prefix of one route."""
    return f"/route-{number}/"
