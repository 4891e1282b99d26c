"""Request-smuggling gadgets at our codec: what it takes is one request, read by h11 as the very same request.

A gadget is a head with something odd about its framing. Refused is right. Taken is right only where h11, given the head as we would
forward it, sees the same body length; and where nothing is left over that a back end could read as a second request.
"""

from __future__ import annotations

from tests.conformance.corpus import Tally, read
from tests.conformance.wire import read_requests

BODY = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def run() -> Tally:
    """Every gadget, with a body that is an end of chunks and a second request."""
    tally = Tally()
    for gadget in read("http1/smuggler_gadgets.json"):
        head = gadget["header_latin1"]
        for name, value in (
            ("__METHOD__", "POST"),
            ("__ENDPOINT__", "/"),
            ("__RANDOM__", "1"),
            ("__HOST__", "a.test"),
            ("__REPLACE_CL__", str(len(BODY))),
        ):
            head = head.replace(name, value)
        reading = read_requests(head.encode("latin-1") + b"\r\n" + BODY)
        smuggled = [request for request, _ in reading.requests if request.path == "/smuggled"]
        tally.count(
            gadget["id"],
            None if reading.error or not smuggled or _ends_early(head) else "a second request was read out of the body",
        )
    return tally


def _ends_early(head: str) -> bool:
    """Whether the head itself has no framing at all, so that what follows is a second request by any reading."""
    lowered = head.lower()
    return "content-length" not in lowered and "transfer-encoding" not in lowered
