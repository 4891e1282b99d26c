"""Request-smuggling gadgets through a running proxy: an origin never sees other than one request, with the body that the proxy saw.

A gadget is a head with something odd about its framing; its body is an end of chunks and a second request. Refused is right. Taken is right where
the origin, which reads by h11, got one request: a second one is right only where the head itself has no framing at all, so
that by any reading what follows it is a second request.
"""

from __future__ import annotations

import trio

from policies.head import Headers
from tests.conformance.carrying import Arrived, Carried, carry
from tests.conformance.corpus import Tally, read

BODY = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def run() -> Tally:
    """Every gadget."""
    tally = Tally()
    wires = {gadget["id"]: wire_of(gadget) for gadget in read("http1/smuggler_gadgets.json")}
    for name, carried in trio.run(carry, wires, echo).items():
        tally.count(name, judge(wires[name], carried))
    return tally


def wire_of(gadget: dict[str, str]) -> bytes:
    """The gadget's head with its places filled in, and the body."""
    head = gadget["header_latin1"]
    for name, value in (
        ("__METHOD__", "POST"),
        ("__ENDPOINT__", "/"),
        ("__RANDOM__", "1"),
        ("__HOST__", "a.test"),
        ("__REPLACE_CL__", str(len(BODY))),
    ):
        head = head.replace(name, value)
    return head.encode("latin-1") + b"\r\n" + BODY


def echo(arrived: Arrived) -> tuple[int, Headers, bytes]:
    """The origin says what it was sent."""
    return 200, [], b"path=" + arrived.target.encode() + b" body=" + arrived.body


def judge(wire: bytes, carried: Carried) -> str | None:
    """None where it was refused, or one request went through and was answered by the origin's echo of it."""
    smuggled = [one for one in carried.arrived if one.target == "/smuggled"]
    if smuggled and not _unframed(wire):
        return "a second request was read out of the body"
    if not carried.arrived:
        return None if carried.refused else f"neither refused nor passed on: {carried.statuses}"
    first = carried.arrived[0]
    if first.whole and carried.statuses[:1] == [200] and first.body not in (b"", BODY):
        return f"the body arrived as {first.body!r}"
    return None if len(carried.arrived) == 1 or smuggled else f"{len(carried.arrived)} requests arrived"


def _unframed(wire: bytes) -> bool:
    """Whether the head itself has no framing at all."""
    lowered = wire.removesuffix(BODY).lower()
    return b"content-length" not in lowered and b"transfer-encoding" not in lowered
