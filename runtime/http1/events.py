"""What the two sides of the codec say: a head, body bytes, an end, or that they wait."""

from __future__ import annotations

from enum import Enum

import msgspec

from policies.head import Headers, RequestHead, ResponseHead


class Waiting(Enum):
    """NEED_DATA: nothing more can be said until bytes arrive. PAUSED: this message is over and the next one is not yet asked for."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA = Waiting.NEED_DATA
PAUSED = Waiting.PAUSED


class EndOfMessage(msgspec.Struct, frozen=True, gc=False):
    """The message is complete; ``trailers`` follow a chunked body, names lower-case."""

    trailers: Headers = []


END = EndOfMessage()

RequestEvent = RequestHead | bytes | EndOfMessage | Waiting
ResponseEvent = ResponseHead | bytes | EndOfMessage | Waiting


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of one head: bytes up to and with its blank line, and number of fields. Exceeding either is 431 (414 for the request line alone)."""

    max_head_bytes: int = 32_768
    max_headers: int = 100


DEFAULT_LIMITS = Limits()
