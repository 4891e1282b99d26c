"""What a supervisor and its worker say to each other: frames of MessagePack over a socket pair, listening sockets as descriptors.

A frame is four bytes of length (big endian) and one tagged struct. Descriptors ride on the frame that names them (``Listeners``), through
SCM_RIGHTS; the kernel delivers them no later than that frame's first byte and in order, so a queue is enough to match them.
The pair is private to the two processes: what comes out of it is trusted, but its size is still bounded.

A slice is not sent whole. The supervisor sends only the section bytes that the worker lacks, in frames of about ``BLOB_BATCH_BYTES``, so that
decoding one never holds the interpreter for long. Both sides follow one rule about what the worker holds: after every ``Prepared`` that
failed and every ``Swapped`` it holds the running slice's blobs and no others.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
import trio

from policies.limits import RateLimit
from runtime.bootstrap import Bootstrap
from snapshot.index import Slice, SliceEntry, SliceIndex, slice_blobs
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""No frame is larger; a larger one ends the connection."""

BLOB_BATCH_BYTES = 128 * 1024
MAX_DESCRIPTORS = 128
"""At most this many sockets ride on one frame (the kernel's limit is 253)."""

_LENGTH = struct.Struct(">I")
_READ_BYTES = 256 * 1024


class ChannelClosedError(Exception):
    """The other process is gone, or what it sent is no frame."""


# --- from the supervisor -----------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True, tag="start"):
    """The first frame: which worker this is, and the bootstrap with every 0 port already made a real one."""

    worker: int
    bootstrap: Bootstrap


class Listeners(msgspec.Struct, frozen=True, tag="listeners"):
    """Listening sockets, one descriptor per name (``address:port``), to keep until a swapped slice no longer binds them."""

    names: tuple[str, ...]


class Blobs(msgspec.Struct, frozen=True, tag="blobs"):
    """Bytes of sections and provenance by digest, for the Prepare that follows."""

    blobs: dict[str, bytes]


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Prepare this slice off to the side; answered by one Prepared with the same ``generation``."""

    generation: int
    snapshot: str
    entry: SliceEntry
    index: SliceIndex


class Swap(msgspec.Struct, frozen=True, tag="swap"):
    """Make the prepared generation the serving one; answered by Swapped."""

    generation: int


class Abandon(msgspec.Struct, frozen=True, tag="abandon"):
    """Another worker could not prepare: drop the prepared generation."""

    generation: int


class LiveUpdate(msgspec.Struct, frozen=True, tag="live", omit_defaults=True):
    """Live data that changed; None is unchanged. ``levels`` says how much which logger tells. ``leaving`` asks clients to leave with each
    reply; ``closed`` are the sockets (``address:port``) on which nothing is accepted any more; ``keys`` are those that check tokens."""

    registry: Registry | None = None
    resolved: tuple[Resolved, ...] | None = None
    svid: Svid | None = None
    credentials: tuple[Credential, ...] | None = None
    levels: dict[str, str] | None = None
    leaving: bool | None = None
    closed: tuple[str, ...] | None = None
    keys: tuple[FetchedKeys, ...] | None = None


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Wants one page of the worker's state (``metrics``, ``clusters``, ``connections``, ``status``); answered by Answer with the same number."""

    number: int
    page: str


class Lent(msgspec.Struct, frozen=True, tag="lent"):
    """The answer to a Borrow: tokens to spend within ``valid_s``; ``remaining`` are left for all, and ``wait_s`` passes until there is one."""

    number: int
    tokens: int
    remaining: int
    wait_s: float
    valid_s: float


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Stop accepting, finish what is in flight, close at the deadline at the latest; answered by Drained."""

    deadline_s: float


# --- from the worker ---------------------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker's lane runs and it reads frames."""


class Prepared(msgspec.Struct, frozen=True, tag="prepared", omit_defaults=True):
    """How a Prepare ended. ``reason`` is "" where it is ready to swap, else the closed reason of what is wrong; ``source`` the resource."""

    generation: int
    duration_ms: float
    reason: str = ""
    message: str = ""
    source: str = ""


class Swapped(msgspec.Struct, frozen=True, tag="swapped"):
    """The generation serves. ``pause_ms`` is the longest the lane stood still during prepare and swap."""

    generation: int
    pause_ms: float = 0.0


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """One page: MessagePack for ``metrics``, JSON for the others."""

    number: int
    body: bytes


class Borrow(msgspec.Struct, frozen=True, tag="borrow"):
    """Wants tokens of a rate limit for one key, at least ``wanted``; answered by Lent with the same number."""

    number: int
    limit: RateLimit
    key: tuple[str, ...]
    wanted: int


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """Nothing is in flight any more, or the deadline came."""


Order = Start | Listeners | Blobs | Prepare | Swap | Abandon | LiveUpdate | Ask | Lent | Drain
Report = Ready | Prepared | Swapped | Answer | Borrow | Drained
Frame = Order | Report


class FrameReader:
    """Splits bytes into frames; sans-I/O. Owns the bytes that are not a whole frame yet."""

    def __init__(self, pending: bytes = b"") -> None:
        self._buffer = bytearray(pending)
        self._decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)

    def receive_data(self, data: bytes) -> None:
        """Takes bytes in any chunking."""
        self._buffer += data

    @property
    def pending(self) -> bytes:
        """What came and is no whole frame yet."""
        return bytes(self._buffer)

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None; raises ChannelClosedError for what is no frame."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > MAX_FRAME_BYTES:
            raise ChannelClosedError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
        end = _LENGTH.size + size
        if len(self._buffer) < end:
            return None
        body = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise ChannelClosedError(f"not a frame: {error}") from None


def encode_frame(frame: Frame) -> bytes:
    """A frame's bytes, its length in front."""
    body = msgspec.msgpack.encode(frame)
    assert len(body) <= MAX_FRAME_BYTES, type(frame).__name__
    return _LENGTH.pack(len(body)) + body


class Channel:
    """One end of the pair. Owns its socket and the descriptors that have come and were not taken yet.

    ``send`` may be called from several tasks; ``receive`` from one. Both raise ChannelClosedError when the other end is gone.
    """

    def __init__(self, end: socket.socket, *, pending: bytes = b"") -> None:
        end.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(end)
        self._reader = FrameReader(pending)
        self._sending = trio.Lock()
        self._descriptors: deque[int] = deque()

    async def send(self, frame: Frame, sockets: Sequence[socket.socket] = ()) -> None:
        """Sends a frame, and with it duplicates of ``sockets``."""
        assert len(sockets) <= MAX_DESCRIPTORS
        data = memoryview(encode_frame(frame))
        numbers = array.array("i", [one.fileno() for one in sockets])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if sockets else []
        try:
            async with self._sending:
                sent = await self._socket.sendmsg([data], rights)
                while sent < len(data):
                    sent += await self._socket.send(data[sent:])
        except OSError as error:
            raise ChannelClosedError(error.strerror or "the connection is closed") from None

    async def hold(self) -> tuple[int, bytes]:
        """Waits until no frame is half sent, and lets none be sent from then on; the descriptor, and bytes read that are no frame yet."""
        await self._sending.acquire()
        return self._socket.fileno(), self._reader.pending

    def release(self) -> None:
        """Lets frames be sent again."""
        self._sending.release()

    async def receive(self) -> Frame:
        """The next frame."""
        while (frame := self._reader.next_frame()) is None:
            room = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
            try:
                data, ancillary, _flags, _peer = await self._socket.recvmsg(_READ_BYTES, room, socket.MSG_CMSG_CLOEXEC)
            except OSError as error:
                raise ChannelClosedError(error.strerror or "the connection is closed") from None
            for level, kind, raw in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
                    self._descriptors.extend(numbers)
            if not data:
                raise ChannelClosedError("the other process is gone")
            self._reader.receive_data(data)
        return frame

    def take_sockets(self, listeners: Listeners) -> dict[str, socket.socket]:
        """The sockets that came with a Listeners frame, by name; the caller owns them."""
        return {name: socket.socket(fileno=self._descriptors.popleft()) for name in listeners.names}

    def close(self) -> None:
        """Closes this end and every descriptor that nobody took."""
        self._socket.close()
        while self._descriptors:
            with contextlib.suppress(OSError):
                socket.close(self._descriptors.popleft())


def blob_batches(slice_: Slice, held: set[str]) -> Iterator[Blobs]:
    """The blobs of a slice that a worker does not hold, in frames of about BLOB_BATCH_BYTES (a larger blob has its own)."""
    batch: dict[str, bytes] = {}
    size = 0
    for digest in slice_blobs(slice_.index):
        if digest in held:
            continue
        blob = slice_.blobs[digest]
        if batch and size + len(blob) > BLOB_BATCH_BYTES:
            yield Blobs(batch)
            batch, size = {}, 0
        batch[digest] = blob
        size += len(blob)
    if batch:
        yield Blobs(batch)
