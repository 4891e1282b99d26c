"""What a proxy says in headers: of itself, of a request, and of who sent it."""

from __future__ import annotations

import msgspec

SANITIZE, FORWARD_ONLY, ALWAYS_FORWARD_ONLY = "sanitize", "forward_only", "always_forward_only"
APPEND_FORWARD, SANITIZE_SET = "append_forward", "sanitize_set"
CERTIFICATE_MODES = (SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY)
"""What may become of x-forwarded-client-cert, as Envoy has it."""
CERTIFICATE_PARTS = ("cert", "subject", "uri", "dns")
"""What x-forwarded-client-cert may say of a client's certificate besides its hash, in the order in which it is written (Envoy)."""
GATEWAY_PARTS = ("cert", "subject", "uri", "dns")
SIDECAR_PARTS = ("subject", "uri", "dns")


class ProxyHeaders(msgspec.Struct, frozen=True, omit_defaults=True):
    """One proxy's choices; the defaults are Istio's.

    ``trusted_hops`` is how many proxies before a gateway are believed: the client is whom the last but so many of x-forwarded-for names.
    ``certificate`` is one of CERTIFICATE_MODES ("": what is usual at the place, ``certificate_mode``), ``shows`` which of CERTIFICATE_PARTS
    it adds (None: the usual ones). ``server`` is how the proxy is called in replies: None is the usual, "" leaves it to the application.
    ``request_ids``, ``attempts`` and ``internal`` say whether x-request-id is made, x-envoy-attempt-count counted, and what else begins with
    x-envoy- is told. ``spelling`` passes names on between HTTP/1 peers with the capitals that they came with.
    """

    trusted_hops: int = 0
    certificate: str = ""
    shows: tuple[str, ...] | None = None
    request_ids: bool = True
    attempts: bool = True
    internal: bool = True
    server: str | None = None
    spelling: bool = False


USUAL = ProxyHeaders()


def certificate_mode(headers: ProxyHeaders, direction: str) -> str:
    """What becomes of x-forwarded-client-cert on a listener of this direction. What an application sends out is never believed."""
    if direction == "outbound":
        return SANITIZE
    return headers.certificate or (APPEND_FORWARD if direction == "inbound" else SANITIZE_SET)


def certificate_parts(headers: ProxyHeaders, direction: str) -> tuple[str, ...]:
    """What x-forwarded-client-cert says of a client's certificate there."""
    if headers.shows is not None:
        return headers.shows
    return SIDECAR_PARTS if direction == "inbound" else GATEWAY_PARTS
