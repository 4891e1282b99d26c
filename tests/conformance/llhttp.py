"""llhttp's request cases at our codec: what it refuses never becomes a request; what it takes and RFC 9112 allows, passes."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.conformance.corpus import Tally, read
from tests.conformance.wire import read_requests


def run() -> Tally:
    """Every case of kind http and type request, strict."""
    tally = Tally()
    for case in read("http1/llhttp_cases.json"):
        name = f"{case['id']} {case['title']}"
        if case["kind"] != "http" or case["meta"].get("type") not in ("request", "request-finish"):
            tally.leave(name, "a response, a URL alone or a lenient mode of that parser")
            continue
        raw = base64.b64decode(case["input_b64"])
        if any(word in raw for word in (b"ICE/", b"RTSP/", b"SOURCE ")):
            tally.leave(name, "ICE or RTSP")
            continue
        reading = read_requests(raw if case["expect"] == "error" else with_host(raw))
        if case["expect"] == "error":
            more = len(reading.requests) > int(case.get("messages") or 0)
            tally.count(name, "passed on more than that parser did" if more else None)
        elif reading.error and (reason := argued(raw, reading.error)):
            tally.leave(name, reason)
        else:
            tally.count(name, f"refused: {reading.error}" if reading.error else None)
    return tally


def with_host(raw: bytes) -> bytes:
    """The case with a Host in each head that has none: their parser does not ask for one, RFC 9112 section 3.2 does."""
    line, crlf, rest = raw.lstrip(b"\r\n").partition(b"\r\n")
    fields = rest.partition(b"\r\n\r\n")[0].lower()
    if not crlf or fields.startswith(b"host:") or b"\r\nhost:" in fields:
        return raw
    target = line.split(b" ")[1] if line.count(b" ") > 1 else b""
    authority = target.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
    host = target if line.startswith(b"CONNECT") else authority or b"a.test"
    return raw[: len(raw) - len(raw.lstrip(b"\r\n"))] + line + crlf + b"Host: " + host + b"\r\n" + rest


def argued(raw: bytes, error: str) -> str:
    """Why we refuse what that parser takes; "" where there is no reason."""
    if error == "truncated_message":
        return "the case ends inside a message"
    for reason, holds in ARGUED.items():
        if holds(raw):
            return reason
    return ""


ARGUED: dict[str, Callable[[bytes], bool]] = {
    "a fragment in a request target (RFC 9112 section 3.2 has none; security: never forwarded)": lambda raw: (
        b"#" in raw.split(b" ")[1]
    ),
    "userinfo in an authority (RFC 9110 section 4.2.4)": lambda raw: b"@" in raw.split(b" ")[1],
    "the target * of another method than OPTIONS (RFC 9112 section 3.2.4)": lambda raw: raw.startswith(b"M-SEARCH *"),
    "a transfer coding other than chunked (501 by RFC 9112 section 6.1)": lambda raw: b"deflate" in raw,
    "content-type in a trailer (RFC 9110 section 6.5.1)": lambda raw: b"\r\n0\r\n" in raw and b"Content-Type" in raw,
}
