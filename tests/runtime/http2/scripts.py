"""What a peer sends on one HTTP/2 connection, as frames written by hand, and what the near side does in between."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpack import Encoder

from policies.head import Headers
from runtime.http2 import frames

GET: Headers = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x?y")]


@dataclass(frozen=True)
class Act:
    """What the near side does: ``answer`` a request to its end, ``reset`` a stream, or, as a client, ``ask``, which opens one."""

    kind: str
    stream: int


Step = bytes | Act


@dataclass
class Script:
    """Steps in order; one encoder keeps the peer's table."""

    steps: list[Step] = field(default_factory=list)
    encoder: Encoder = field(default_factory=Encoder)

    def send(self, data: bytes) -> None:
        """The peer sends one frame, or any bytes."""
        self.steps.append(data)

    def act(self, kind: str, stream: int) -> None:
        """The near side does something."""
        self.steps.append(Act(kind, stream))

    def headers(
        self,
        stream: int,
        headers: Headers,
        *,
        end: bool,
        parts: int = 1,
        padding: int | None = None,
        priority: tuple[int, int] | None = None,
        huffman: bool = True,
    ) -> None:
        """A header block in so many frames, with padding and the old priority where asked for (stream it depends on, weight)."""
        block = self.encoder.encode(headers, huffman=huffman)
        size = max(1, -(-len(block) // parts))
        pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        first = pieces[0]
        flags = frames.END_STREAM if end else 0
        if priority is not None:
            flags |= frames.PRIORITY_FLAG
            first = struct.pack(">LB", *priority) + first
        if padding is not None:
            flags |= frames.PADDED
            first = bytes([padding]) + first + bytes(padding)
        if len(pieces) == 1:
            flags |= frames.END_HEADERS
        self.send(frames.frame(frames.HEADERS, flags, stream, first))
        for piece in pieces[1:-1]:
            self.send(frames.frame(frames.CONTINUATION, 0, stream, piece))
        if len(pieces) > 1:
            self.send(frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream, pieces[-1]))

    def data(self, stream: int, data: bytes, *, end: bool, padding: int | None = None) -> None:
        """A DATA frame."""
        flags = frames.END_STREAM if end else 0
        if padding is not None:
            flags |= frames.PADDED
            data = bytes([padding]) + data + bytes(padding)
        self.send(frames.frame(frames.DATA, flags, stream, data))


def joined(steps: Sequence[Step]) -> list[Step]:
    """The same with all that is sent between two acts in one piece."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += step
        else:
            found.append(step)
    return found


def cut(steps: Sequence[Step], size: int) -> list[Step]:
    """The same with all that is sent in pieces of so many bytes."""
    found: list[Step] = []
    for step in joined(steps):
        if isinstance(step, bytes):
            found += [step[at : at + size] for at in range(0, len(step), size)]
        else:
            found.append(step)
    return found
