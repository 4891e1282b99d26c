"""Http11Probe's cases through a running proxy: its own verdict on what the client was told, and where it has none what its description asks."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

import trio

from policies.head import Headers
from tests.conformance.carrying import Arrived, Carried, carry
from tests.conformance.corpus import Tally, read

Case = dict[str, Any]


def run() -> Tally:
    """Every case: one that fails is wrong, whatever its level, unless ``OTHERWISE`` says why we do otherwise."""
    tally = Tally()
    cases: list[Case] = read("http1/http11probe_cases.json")
    found = trio.run(carry, {case["id"]: wire_of(case) for case in cases}, answer)
    for case in cases:
        name = f"{case['id']} {case['desc']}"
        problem = judge(case, found[case["id"]])
        if problem and case["id"] in OTHERWISE:
            tally.leave(name, OTHERWISE[case["id"]])
        else:
            tally.count(name, problem)
    return tally


def answer(arrived: Arrived) -> tuple[int, Headers, bytes]:
    """What the origin says: 204 to OPTIONS, 405 to DELETE, else what the client sent."""
    if arrived.method == "OPTIONS":
        return 204, [], b""
    if arrived.method == "DELETE":
        return 405, [(b"allow", b"GET, HEAD, POST")], b""
    return 200, [(b"content-type", b"application/octet-stream")], arrived.body or b"ok"


def wire_of(case: Case) -> bytes:
    """The case's bytes; of those that the data leaves out, what the description says."""
    payload = case.get("payload_b64")
    return base64.b64decode(payload) if payload else DESCRIBED[case["id"]]


_CHUNKED = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_CODED = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: %b\r\nContent-Length: 5\r\n\r\nhello"
DESCRIBED: Mapping[str, bytes] = {
    "MAL-NON-ASCII-HEADER-NAME": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Tëst: 1\r\n\r\n".encode(),
    "MAL-NON-ASCII-URL": "GET /caf\u00e9 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
    "MAL-URL-OVERLONG-UTF8": b"GET /..\xc0\xafetc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "MAL-RANGE-OVERLAPPING": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-,%b\r\n\r\n"
    % b",".join(b"%d-" % at for at in range(1, 1000)),
    "SMUG-CHUNK-EXT-CTRL": _CHUNKED + b"5;a=\x00b\r\nhello\r\n0\r\n\r\n",
    "SMUG-TE-VTAB": _CODED % b"\x0bchunked",
    "SMUG-TE-NULL": _CODED % b"chunked\x00",
    "SMUG-CHUNK-BARE-CR-TERM": _CHUNKED + b"5\rhello\r\n0\r\n\r\n",
}


def judge(case: Case, carried: Carried) -> str | None:
    """None where the answer passes, or is one that the authors only warn of; and where nothing of what was refused arrived."""
    said = f"answered {carried.statuses}, {'closed' if carried.closed else 'open'}, arrived {carried.whole}"
    if case["id"] in ASKED:
        return None if ASKED[case["id"]](carried) else said
    if carried.statuses and carried.statuses[-1] >= 400 and len(carried.whole) >= len(carried.statuses):
        return f"refused, and yet {said}"
    verdicts = {case["verdict"].get(each, "Fail") for each in answers_of(carried)}
    return None if verdicts & {"Pass", "Warn"} else said


def answers_of(carried: Carried) -> set[str]:
    """The answer in the authors' words: a status, and where a refusal ends with the connection's end, that too."""
    if not carried.statuses:
        return {"ClosedByServer" if carried.closed else "TimedOut"}
    first = {str(carried.statuses[0])}
    return first | {"ClosedByServer"} if carried.refused else first


def _taken(body: bytes, trailers: Headers = []) -> Callable[[Carried], bool]:  # noqa: B006  It is never changed.
    """The request arrived with this body, and was answered."""

    def holds(carried: Carried) -> bool:
        (arrived,) = carried.whole
        return carried.statuses[0] == 200 and (arrived.body, arrived.trailers) == (body, trailers)

    return holds


def _header(name: bytes, value: bytes) -> Callable[[Carried], bool]:
    """The reply has this header, with a value of this pattern."""
    pattern = rb"(?im)^%b: %b\r$" % (name, value)
    return lambda carried: re.search(pattern, carried.answer) is not None


def _arrived(name: bytes, *values: bytes) -> Callable[[Carried], bool]:
    """The origin was sent this header with these values, and no other of that name."""
    return lambda carried: [value for key, value in carried.whole[0].headers if key == name] == list(values)


def _refused(carried: Carried) -> bool:
    return carried.refused and not carried.arrived


_DATE = rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d GMT"
# What cases without a table of verdicts ask for, by their descriptions.
ASKED: Mapping[str, Callable[[Carried], bool]] = {
    "COMP-POST-CL-BODY": _taken(b"hello"),
    "COMP-CHUNKED-BODY": _taken(b"hello"),
    "COMP-CHUNKED-MULTI": _taken(b"hello world"),
    "COMP-CHUNKED-EXTENSION": _taken(b"hello"),
    "COMP-CHUNKED-TRAILER-VALID": _taken(b"hello", [(b"x-checksum", b"abc")]),
    "COMP-CHUNKED-HEX-UPPERCASE": _taken(b"helloworld"),
    "COMP-HEAD-NO-BODY": lambda carried: carried.statuses == [200] and carried.answer.endswith(b"\r\n\r\n"),
    "COMP-405-ALLOW": _header(b"allow", rb"[A-Z, ]+"),
    "COMP-DATE-HEADER": _header(b"date", _DATE),
    "COMP-DATE-FORMAT": _header(b"date", _DATE),
    "COMP-NO-CL-IN-204": lambda carried: carried.statuses == [204] and b"content-length" not in carried.answer.lower(),
    "COMP-CONTENT-TYPE": _header(b"content-type", rb"application/octet-stream"),
    "COOK-ECHO": _arrived(b"cookie", b"foo=bar"),
    "COOK-CONTROL-CHARS": _refused,
    "COOK-MALFORMED": _arrived(b"cookie", b"===;;;"),
    "COOK-MULTI-HEADER": _arrived(b"cookie", b"a=1", b"b=2"),
    "COOK-PARSED-BASIC": _arrived(b"cookie", b"foo=bar"),
    "COOK-PARSED-MULTI": _arrived(b"cookie", b"a=1; b=2; c=3"),
    "NORM-UNDERSCORE-CL": lambda carried: (
        _taken(b"hello world")(carried) and _arrived(b"content-length", b"11")(carried)
    ),
    "NORM-SP-BEFORE-COLON-CL": _refused,
    "NORM-TAB-IN-NAME": _refused,
    "NORM-CASE-TE": _refused,
    "NORM-UNDERSCORE-TE": lambda carried: _taken(b"hello world")(carried) and _arrived(b"transfer-encoding")(carried),
}
OTHERWISE: Mapping[str, str] = {}
