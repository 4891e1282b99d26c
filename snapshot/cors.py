"""Cross-origin resource sharing (the Fetch standard, section 3.2; Envoy's CORS filter): preflights answered, other responses marked."""

from __future__ import annotations

import msgspec

from policies.head import RequestHead
from policies.traffic import Cors, HeaderEdits
from snapshot.decision import Decision, LocalReply
from snapshot.prepared import PreparedRoute


def cross_origin(prepared: PreparedRoute, cors: Cors, decision: Decision, head: RequestHead) -> Decision:
    """What a route's policy makes of a decision for a request of another origin. A preflight is answered before any fault is injected."""
    fields = dict(head.headers)
    origin = fields.get(b"origin")
    if origin is None:
        return decision
    # What is not ASCII is no origin (RFC 6454, section 6.2).
    allowed = origin.isascii() and any(test(origin.decode()) for test in prepared.origins)
    asked = fields.get(b"access-control-request-method")
    if head.method == "OPTIONS" and asked:
        if not allowed and cors.forward_unmatched:
            return decision
        wanted = (asked, fields.get(b"access-control-request-headers", b""))
        # Without the origin's own field a browser takes the rest for a no, as where Envoy answers.
        answer = _preflight(cors, origin if allowed else b"", *wanted)
        return Decision(
            reply=LocalReply(200, headers=answer, details="cors_response"),
            route_name=decision.route_name,
            virtual_host=decision.virtual_host,
            sources=decision.sources,
        )
    if not allowed:
        return decision
    pairs = [("access-control-allow-origin", origin.decode())]
    if cors.credentials:
        pairs.append(("access-control-allow-credentials", "true"))
    if cors.expose_headers:
        pairs.append(("access-control-expose-headers", cors.expose_headers))
    marks = HeaderEdits(set=tuple(pairs))
    return msgspec.structs.replace(decision, response_edits=(*decision.response_edits, marks))


def _preflight(cors: Cors, origin: bytes, method: bytes, headers: bytes) -> tuple[tuple[bytes, bytes], ...]:
    # What was asked for is said back for ``*``: with credentials a browser takes that for a name.
    methods = method if cors.methods == "*" else cors.methods.encode()
    names = headers if cors.headers == "*" else cors.headers.encode()
    answer = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true" if cors.credentials else b""),
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", names),
        (b"access-control-expose-headers", cors.expose_headers.encode() if origin else b""),
        (b"access-control-max-age", b"" if cors.max_age_s < 0 else str(cors.max_age_s).encode()),
    ]
    everything = b"access-control-allow-headers" if cors.headers == "*" else b""
    return tuple((name, value) for name, value in answer if value or name == everything)
