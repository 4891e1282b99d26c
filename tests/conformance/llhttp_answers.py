"""llhttp's response cases as what an upstream answers: a wrong one becomes a 502 with its flag, or is cut; a right one passes as it was read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.conformance.answering import Returned, answer_with
from tests.conformance.llhttp_log import Message, messages, raw_of

Case = dict[str, Any]
UPSTREAM_PROTOCOL = "UPE"
AFTER_CLOSE = 5
"""That parser's code for bytes after a message that closes the connection: the message itself is good."""


async def answers_to(cases: Sequence[Case]) -> dict[str, Returned]:
    """What a client is told of each."""
    return await answer_with({case["id"]: raw_of(case) for case in cases})


def judge(case: Case, returned: Returned, strict: Case | None) -> tuple[str | None, str]:
    """What is wrong, and why the case is left out where we do otherwise than that parser and mean it."""
    if strict is not None and strict["expect"] == "ok":
        if reason := next((reason for reason, holds in ARGUED.items() if holds(raw_of(case))), ""):
            return judge_refusal(returned, Message()), reason
        return judge_reading(case, returned), ""
    if strict is None:
        # A length that is followed by more has been read to its end by any mode; all else only the lenient one reads.
        followed = case["meta"]["type"] in {"response-lenient-data-after-close", "response-lenient-keep-alive"}
        return (judge_reading(case, returned) if followed else judge_refusal(returned, Message())), ""
    if strict["error"]["code"] == AFTER_CLOSE:
        return judge_reading(strict, returned), ""
    told = messages(strict)
    return judge_refusal(returned, told[0] if told and told[0].headed and told[0].status != 101 else Message()), ""


def judge_refusal(returned: Returned, told: Message) -> str | None:
    """None where the client got a 502; or, where a head was good, this head and a reply that is cut. The flag says whose fault it is."""
    if told.headed:
        # The reset that says that a reply is cut may overtake its head: then the client saw nothing.
        right = returned.status in {told.status, 0} and not returned.whole and told.body.startswith(returned.body)
    else:
        right = returned.status == 502 and returned.whole
    return None if right and returned.flags == UPSTREAM_PROTOCOL else f"{returned}"


def judge_reading(case: Case, returned: Returned) -> str | None:
    """None where the client got the first final message, and took it for whole where it is: by its framing, or by the end of the connection."""
    final = next(message for message in messages(case) if message.headed and message.status >= 200)
    head = raw_of(case).partition(b"\r\n\r\n")[0].lower()
    by_close = b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head
    whole = final.whole or by_close
    right = (returned.status, returned.body, returned.whole) == (final.status, final.body, whole)
    flags = "-" if whole else UPSTREAM_PROTOCOL
    return None if right and returned.flags == flags else f"{returned}, wanted {final.status} {final.body!r} {flags}"


_OTHER_VERSION = re.compile(rb"(RTSP|ICE)/|HTTP/(?!1\.[01] )")
_EMPTY_LINE = re.compile(rb"\r\n|HTTP/1\.1 1[^\r]*\r\n([^\r]+\r\n)*\r\n\r\n")
_OTHER_CODING = re.compile(rb"\r\ntransfer-encoding:(?![ \t]*chunked[ \t]*\r)[^\r]*\r", re.IGNORECASE)
ARGUED: Mapping[str, Callable[[bytes], bool]] = {
    "another protocol, or a version that has no status line or another one (RFC 9112 section 2.3)": (
        lambda raw: _OTHER_VERSION.match(raw) is not None
    ),
    "an empty line before a status line: servers alone are told to pass over one (RFC 9112 section 2.2)": (
        lambda raw: _EMPTY_LINE.match(raw) is not None
    ),
    "a coding other than chunked, or two: a body that nobody here can decode (RFC 9112 section 6.1)": (
        lambda raw: _OTHER_CODING.search(raw.partition(b"\r\n\r\n")[0] + b"\r\n") is not None
    ),
}
