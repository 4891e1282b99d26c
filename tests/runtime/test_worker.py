"""A worker behind its frames: what it answers, what it keeps, and what does not end it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from policies.source import SourceRef
from runtime.bootstrap import Bootstrap
from runtime.ipc import (
    Abandon,
    Answer,
    Ask,
    Blobs,
    Borrow,
    Channel,
    ChannelClosedError,
    Drain,
    Drained,
    Lent,
    Listeners,
    LiveUpdate,
    Prepare,
    Prepared,
    Ready,
    Start,
    Swap,
    Swapped,
    blob_batches,
)
from runtime.worker import Worker
from snapshot.index import Selector, Slice
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid
from snapshot.prepared import PrepareError
from tests.slices import cluster, slice_of

BOOTSTRAP = Bootstrap(selector=Selector(name="a"), store="s", root="r", state="x")
ONE = slice_of(cluster("a", ("127.0.0.1", 80)))
TWO = slice_of(cluster("a", ("127.0.0.1", 81)))
SVID = Svid("spiffe://td/a", b"", b"", b"", 0.0, 1.0)


class Plane:
    """Remembers what it was given. ``raises`` is what the next prepare, page or filling raises."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self.serving: list[str] = []
        self.sockets: dict[str, socket.socket] = {}
        self.raises: Exception | None = None
        self.registry = 0
        self.drained = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.drop_sockets(frozenset(self.sockets))

    def add_sockets(self, sockets: dict[str, socket.socket]) -> None:
        self.sockets.update(sockets)

    def drop_sockets(self, names: frozenset[str]) -> None:
        for name in names:
            self.sockets.pop(name).close()

    async def prepare(self, slice_: Slice) -> str:
        self._fail()
        assert slice_.blobs
        return slice_.snapshot

    def swap(self, generation: Any) -> None:
        self.serving.append(generation)

    def set_registry(self, registry: Registry) -> None:
        self._fail()
        self.registry = registry.version

    def set_resolved(self, resolved: list[Resolved]) -> None:
        self._fail()

    def set_svid(self, svid: Svid) -> None:
        self._fail()

    def set_credentials(self, credentials: list[Credential]) -> None:
        self._fail()

    def set_keys(self, keys: Sequence[FetchedKeys]) -> None:
        self._fail()

    def share_limits(self, borrow: Callable[[Borrow], Awaitable[Lent | None]], workers: int) -> None:
        self._fail()

    def set_leaving(self, leaving: bool) -> None:
        self._fail()

    def close_listeners(self, names: frozenset[str]) -> None:
        self._fail()

    async def drain(self, deadline_s: float) -> None:
        self.drained = deadline_s

    def pause_ms(self) -> float:
        return 1.5

    async def page(self, name: str) -> bytes:
        self._fail()
        return name.encode()

    def _fail(self) -> None:
        if self.raises is not None:
            raise self.raises


@asynccontextmanager
async def working() -> AsyncIterator[tuple[Channel, Plane, trio.Event]]:
    """A running worker in this process, the supervisor's end of its channel, and the event of its end."""
    ours, theirs = socket.socketpair()
    planes: list[Plane] = []
    ended = trio.Event()

    def make(bootstrap: Bootstrap) -> Plane:
        planes.append(Plane(bootstrap))
        return planes[0]

    async def run() -> None:
        await Worker(Channel(theirs), make).run()
        ended.set()

    channel = Channel(ours)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await channel.send(Start(0, BOOTSTRAP))
            assert await channel.receive() == Ready()
            yield channel, planes[0], ended
            channel.close()


async def prepare(channel: Channel, slice_: Slice, number: int, held: set[str] | None = None) -> Prepared:
    for batch in blob_batches(slice_, held or set()):
        await channel.send(batch)
    await channel.send(Prepare(number, slice_.snapshot, slice_.entry, slice_.index))
    prepared = await channel.receive()
    assert isinstance(prepared, Prepared)
    return prepared


async def deploy(channel: Channel, slice_: Slice, number: int, held: set[str] | None = None) -> None:
    assert (await prepare(channel, slice_, number, held)).reason == ""
    await channel.send(Swap(number))
    assert await channel.receive() == Swapped(number, 1.5)


async def test_a_slice_is_prepared_then_swapped_and_what_is_unchanged_is_not_sent_again() -> None:
    async with working() as (channel, plane, _):
        await deploy(channel, ONE, 1)
        await deploy(channel, TWO, 2, held=set(ONE.blobs))
        assert plane.serving == [ONE.snapshot, TWO.snapshot]


async def test_a_refusal_says_why_and_where_and_the_serving_slices_blobs_are_kept() -> None:
    async with working() as (channel, plane, _):
        await deploy(channel, ONE, 1)
        plane.raises = PrepareError("pattern", "no such regex", SourceRef("VirtualService", "a", "b", "spec.http[0]"))
        refused = await prepare(channel, TWO, 2, held=set(ONE.blobs))
        assert (refused.reason, refused.message, refused.source) == (
            "pattern",
            "no such regex",
            "VirtualService/a/b#spec.http[0]",
        )
        plane.raises = None
        await deploy(channel, ONE, 3, held=set(ONE.blobs))
        assert plane.serving == [ONE.snapshot, ONE.snapshot]


async def test_a_bug_in_prepare_refuses_the_slice_and_the_worker_goes_on() -> None:
    async with working() as (channel, plane, _):
        plane.raises = ZeroDivisionError("a bug")
        refused = await prepare(channel, ONE, 1)
        assert (refused.reason, refused.message) == ("internal", "ZeroDivisionError: a bug")
        plane.raises = None
        await deploy(channel, ONE, 2)


async def test_live_data_that_cannot_be_taken_in_does_not_end_the_worker_nor_keep_the_rest_out() -> None:
    async with working() as (channel, plane, _):
        plane.raises = ZeroDivisionError("a bug")
        await channel.send(LiveUpdate(Registry(1, ()), (), SVID, ()))
        await channel.send(Ask(1, "status"))
        assert await channel.receive() == Answer(1, b"")
        plane.raises = None
        await channel.send(LiveUpdate(registry=Registry(2, ())))
        await channel.send(Ask(2, "status"))
        assert await channel.receive() == Answer(2, b"status")
        assert plane.registry == 2


@pytest.mark.parametrize("refuse", [True, False], ids=["refused here", "refused by another worker"])
async def test_sockets_that_came_with_a_refused_slice_are_let_go(refuse: bool) -> None:
    async with working() as (channel, plane, _):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await channel.send(Listeners(("a",)), [listening])
            if refuse:
                plane.raises = PrepareError("pattern", "no")
            await prepare(channel, ONE, 1)
            if not refuse:
                assert "a" in plane.sockets
                await channel.send(Abandon(1))
        plane.raises = None
        await channel.send(Ask(1, "status"))
        await channel.receive()
        assert plane.sockets == {}


async def test_a_drained_worker_says_so_and_ends() -> None:
    async with working() as (channel, plane, ended):
        await channel.send(Drain(7.0))
        assert await channel.receive() == Drained()
        await ended.wait()
        assert plane.drained == 7.0
        with pytest.raises(ChannelClosedError):
            await channel.receive()


async def test_a_worker_ends_when_its_supervisor_is_gone() -> None:
    async with working() as (channel, _, ended):
        await channel.send(Blobs({}))
        channel.close()
        await ended.wait()
