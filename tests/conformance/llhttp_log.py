"""What llhttp itself made of a case: its log says where in the input each piece lies."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any

_SPAN = re.compile(r"off=(\d+) len=(\d+) span\[(\w+)\]=")
_HEAD = re.compile(r"off=\d+ headers complete (?:method=\d+ )?(?:status=(\d+) )?v=(\d)/(\d)")


@dataclass
class Message:
    """One message of the log. ``whole`` says that its end was seen, ``status`` is 0 for a request."""

    spans: dict[str, bytes] = field(default_factory=dict)
    status: int = 0
    headed: bool = False
    whole: bool = False

    @property
    def body(self) -> bytes:
        """The body's bytes, taken out of their chunks."""
        return self.spans.get("body", b"")


def raw_of(case: dict[str, Any]) -> bytes:
    """The case's bytes."""
    return base64.b64decode(case["input_b64"])


def messages(case: dict[str, Any]) -> list[Message]:
    """The messages that the parser told, whole or not, in order."""
    raw, found = raw_of(case), list[Message]()
    for line in case["log"].splitlines():
        if "message begin" in line:
            found.append(Message())
        if not found:
            found.append(Message())
        message = found[-1]
        if span := _SPAN.match(line):
            start, size = int(span[1]), int(span[2])
            message.spans[span[3]] = message.spans.get(span[3], b"") + raw[start : start + size]
        elif head := _HEAD.match(line):
            message.headed, message.status = True, int(head[1] or 0)
        elif "message complete" in line:
            message.whole = True
    return found
