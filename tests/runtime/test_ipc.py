"""Frames between supervisor and worker: any chunking, bounded sizes, descriptors that arrive with the frame that names them."""

from __future__ import annotations

import random
import socket
import struct

import msgspec
import pytest

from runtime.bootstrap import Bootstrap
from runtime.ipc import (
    BLOB_BATCH_BYTES,
    MAX_FRAME_BYTES,
    Answer,
    Ask,
    Blobs,
    Channel,
    ChannelClosedError,
    Drain,
    Frame,
    FrameReader,
    Listeners,
    LiveUpdate,
    Prepare,
    Prepared,
    Ready,
    Start,
    Swap,
    Swapped,
    blob_batches,
    encode_frame,
)
from snapshot.index import Selector
from snapshot.live import RegisteredWorkload, Registry, Resolved, Svid
from tests.slices import cluster, slice_of

SLICE = slice_of(cluster("a", ("127.0.0.1", 80)))
REGISTRY = Registry(
    7, (RegisteredWorkload("n", "w", "127.0.0.3", (("app", "w"),), "spiffe://td/a", ports=(("80", 80),)),)
)
FRAMES: tuple[Frame, ...] = (
    Start(0, Bootstrap(selector=Selector(name="a"), store="s", root="r", state="x")),
    Listeners(("127.0.0.1:80",)),
    Blobs({"d": b"\x00\xff" * 1000}),
    Prepare(3, SLICE.snapshot, SLICE.entry, SLICE.index),
    Swap(3),
    LiveUpdate(registry=REGISTRY, resolved=(Resolved("a", 80, ("127.0.0.1",)),)),
    LiveUpdate(svid=Svid("spiffe://td/a", b"c", b"k", b"b", 1.0, 2.0), credentials=()),
    Ask(1, "metrics"),
    Answer(1, b"body"),
    Ready(),
    Prepared(3, 1.5, "reference", "no", "VirtualService/a/b"),
    Swapped(3, 0.5),
    Drain(1.0),
)


def test_every_frame_comes_out_as_it_went_in_however_its_bytes_are_cut() -> None:
    data = b"".join(encode_frame(frame) for frame in FRAMES)
    rng = random.Random(1)
    for longest in (1, 3, 100, len(data)):
        reader, seen, at = FrameReader(), [], 0
        while at < len(data):
            size = rng.randint(1, longest)
            reader.receive_data(data[at : at + size])
            at += size
            while (frame := reader.next_frame()) is not None:
                seen.append(frame)
        assert seen == list(FRAMES)


def test_a_frame_over_the_limit_ends_the_connection_before_it_is_read() -> None:
    reader = FrameReader()
    reader.receive_data(struct.pack(">I", MAX_FRAME_BYTES + 1))
    with pytest.raises(ChannelClosedError, match="over the limit"):
        reader.next_frame()


@pytest.mark.parametrize("body", [b"\xc1", msgspec.msgpack.encode({"type": "nothing"}), msgspec.msgpack.encode([1])])
def test_bytes_that_are_no_frame_end_the_connection(body: bytes) -> None:
    reader = FrameReader()
    reader.receive_data(struct.pack(">I", len(body)) + body)
    with pytest.raises(ChannelClosedError, match="not a frame"):
        reader.next_frame()


async def test_sockets_arrive_with_the_frame_that_names_them_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs)
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in listening]
    await sender.send(Ask(1, "x"))
    await sender.send(Listeners(("a", "b")), listening[:2])
    await sender.send(Listeners(("c",)), listening[2:])
    for one in listening:
        one.close()
    assert await receiver.receive() == Ask(1, "x")
    taken = {}
    for _ in range(2):
        frame = await receiver.receive()
        assert isinstance(frame, Listeners)
        taken.update(receiver.take_sockets(frame))
    assert {name: one.getsockname()[1] for name, one in taken.items()} == dict(zip("abc", ports, strict=True))
    for one in taken.values():
        one.close()
    sender.close()
    with pytest.raises(ChannelClosedError, match="gone"):
        await receiver.receive()
    receiver.close()


async def test_descriptors_that_nobody_took_are_closed_with_the_channel() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs)
    left, right = socket.socketpair()
    await sender.send(Listeners(("a",)), [right])
    right.close()
    await receiver.receive()
    receiver.close()
    assert left.recv(1) == b"", "the other end of the pair is still open somewhere"
    left.close()
    sender.close()


def test_only_what_is_not_held_is_sent_and_in_bounded_batches() -> None:
    names = [f"a{number}" for number in range(2000)]
    slice_ = slice_of(*(cluster(name, ("127.0.0.1", 80)) for name in names))
    batches = list(blob_batches(slice_, set()))
    assert len(batches) > 1
    assert {name for batch in batches for name in batch.blobs} == set(slice_.blobs)
    assert max(sum(map(len, batch.blobs.values())) for batch in batches) <= BLOB_BATCH_BYTES
    held = set(batches[0].blobs)
    rest = {name for batch in blob_batches(slice_, held) for name in batch.blobs}
    assert rest == set(slice_.blobs) - held
    assert list(blob_batches(slice_, set(slice_.blobs))) == []
