"""llhttp's cases through a running proxy: what that parser refuses reaches no origin, what it reads arrives as it read it.

Requests go in at the front, responses come from an upstream, targets stand in a request line. A case that its authors give to a lenient mode
is judged by what their strict mode does with the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import trio

from tests.conformance import llhttp_answers
from tests.conformance.carrying import Carried, carry
from tests.conformance.corpus import Tally, read
from tests.conformance.llhttp_log import messages, raw_of

Case = dict[str, Any]
PAUSES = frozenset({21, 22, 23})
"""Codes of that parser that are no errors: it hands the rest of the connection to its caller."""
STRICT = {
    # How many requests its strict mode reads of a lenient case that has no strict twin in the corpus.
    "request-lenient-headers": 0,
    "request-lenient-header-value-relaxed": 0,
    "request-lenient-version": 0,
    "request-lenient-chunked-length": 0,
    "request-lenient-transfer-encoding": 0,
    "request-lenient-optional-lf-after-cr": 0,
    "request-lenient-optional-crlf-after-chunk": 0,
    "request-lenient-spaces-after-chunk-size": 0,
}
STRICT_OF = {"test/request/lenient-headers.md:37": 1}
"""The same where it is another number: its first request is fine."""


def run() -> Tally:
    """Every case."""
    tally = Tally()
    cases: list[Case] = read("http1/llhttp_cases.json")
    asked = {case["id"]: wire_of(case) for case in cases if not is_answer(case)}
    carried = trio.run(carry, asked)
    returned = trio.run(llhttp_answers.answers_to, [case for case in cases if is_answer(case)])
    for case in cases:
        name = f"{case['id']} {case['title']}"
        if is_answer(case):
            problem, reason = llhttp_answers.judge(case, returned[case["id"]], strict_twin(case, cases))
        else:
            problem, reason = judge(case, carried[case["id"]], strict_twin(case, cases))
        if reason and not problem:
            tally.leave(name, reason)
        else:
            tally.count(name, problem)
    return tally


def is_answer(case: Case) -> bool:
    """Whether an upstream says it."""
    return str(case["meta"].get("type", "")).startswith("response")


def is_lenient(case: Case) -> bool:
    """Whether the case is about a lenient mode."""
    return "lenient" in case["meta"].get("type", "")


def strict_twin(case: Case, cases: list[Case]) -> Case | None:
    """For a lenient case, the one of strict mode with the same bytes, where there is one; else the case itself."""
    if not is_lenient(case):
        return case
    kind = case["meta"]["type"].partition("-")[0]
    same = (other for other in cases if other["input_b64"] == case["input_b64"] and other["meta"].get("type") == kind)
    return next(same, None)


def wire_of(case: Case) -> bytes:
    """The bytes to send: a Host where there is none, which that parser does not ask for; a target gets its request line."""
    raw = raw_of(case)
    if case["kind"] == "url":
        raw = b"GET " + raw + b" HTTP/1.1\r\n\r\n"
    return with_host(raw)


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


def judge(case: Case, carried: Carried, strict: Case | None) -> tuple[str | None, str]:
    """What is wrong, and why the case is left out where we do otherwise than that parser and mean it."""
    if strict is None:
        problem = judge_refusal(STRICT_OF.get(case["id"], STRICT.get(case["meta"]["type"], 0)), carried)
        return problem, ""
    if strict["expect"] == "error" and strict["error"]["code"] in PAUSES:
        more = len(carried.arrived) > int(strict["messages"])
        return ("what followed an upgrade was read as a request" if more else None), ""
    if strict["expect"] == "error":
        return judge_refusal(int(strict["messages"]), carried), ""
    if reason := argued(case):
        return judge_refusal(0, carried), reason
    if case["meta"].get("skipBody"):
        return judge_refusal(0, carried, waits=True), "an option of that parser's callers: not to read bodies"
    return judge_reading(case, carried), ""


def judge_refusal(fine: int, carried: Carried, *, waits: bool = False) -> str | None:
    """None where at most ``fine`` requests arrived whole, were answered, and then the connection was refused or, where it ``waits``, is open."""
    if len(carried.whole) > fine:
        return f"{len(carried.whole)} requests arrived, of which {fine} are good"
    if sum(status < 400 for status in carried.statuses) > fine:
        return f"answered {carried.statuses}"
    if not carried.closed and not waits:
        return f"not refused: {carried.statuses}"
    return None


def judge_reading(case: Case, carried: Carried) -> str | None:
    """None where the origin was sent what that parser read, and each whole request was answered."""
    wanted = [message for message in messages(case) if message.whole or case["kind"] == "url"]
    for message, arrived in zip(wanted, carried.whole, strict=False):
        target = message.spans.get("url", b"").decode() if case["kind"] == "http" else raw_of(case).decode()
        if arrived.target != path_of(target) or arrived.body != message.body:
            return f"{arrived.target} {arrived.body!r} arrived, {target} {message.body!r} was sent"
    if len(carried.whole) != len(wanted) or carried.statuses != [200] * len(wanted):
        return f"{len(carried.whole)} of {len(wanted)} arrived, answered {carried.statuses}"
    return None


def path_of(target: str) -> str:
    """The origin-form of a target in absolute-form (RFC 9112 section 3.2.2)."""
    path = re.sub(r"^https?://[^/?]*", "", target)
    return path if path.startswith("/") else f"/{path}"


_OTHER_VERSION = re.compile(rb"[^ \r\n]+ [^ \r\n]+ (RTSP|ICE)/")
_OTHER_CODING = re.compile(rb"\r\ntransfer-encoding:(?![ \t]*chunked[ \t]*\r)[^\r]*\r", re.IGNORECASE)
_BAD_TRAILER = re.compile(
    rb"\r\n0+(;[^\r]*)?\r\n([^\r]+\r\n)*(content-|host:|authorization:|set-cookie:)", re.IGNORECASE
)


def argued(case: Case) -> str:
    """Why we refuse what that parser takes; "" where there is no reason."""
    raw = raw_of(case)
    target = raw.split(b" ")[1] if case["kind"] == "http" and raw.count(b" ") > 1 else raw
    return next((reason for reason, holds in ARGUED.items() if holds(raw, target)), "")


ARGUED: Mapping[str, Callable[[bytes, bytes], bool]] = {
    "RTSP and ICE are other protocols (RFC 9112 section 2.3: the version is HTTP's)": (
        lambda raw, _: _OTHER_VERSION.match(raw) is not None
    ),
    "a fragment in a request target (RFC 9112 section 3.2 has none; never forwarded)": lambda _, target: b"#" in target,
    "userinfo in an authority (RFC 9110 section 4.2.4)": lambda _, target: b"@" in target.partition(b"?")[0],
    "a zone identifier in an authority means something on the sender's machine alone (RFC 6874 section 1)": (
        lambda _, target: b"%" in target.partition(b"[")[2].partition(b"]")[0]
    ),
    "the target * of another method than OPTIONS (RFC 9112 section 3.2.4)": (
        lambda raw, target: target == b"*" and not raw.startswith(b"OPTIONS ")
    ),
    "a transfer coding other than chunked (501 by RFC 9112 section 6.1)": (
        lambda raw, _: _OTHER_CODING.search(raw) is not None
    ),
    "a trailer that would change the message after the fact (RFC 9110 section 6.5.1)": (
        lambda raw, _: _BAD_TRAILER.search(raw) is not None
    ),
}
