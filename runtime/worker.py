"""One worker process: the lane and its frames. ``python -m runtime.worker FD`` where FD is this end of the supervisor's socket pair.

The worker does what it is told: it takes sockets, prepares and swaps slices, fills slots with live data, answers questions, drains. It
reads no file and knows no store, no control plane and no Git; it imports nothing that can. Signals are the supervisor's business; when
the supervisor is gone, the worker ends at once, because a restarted one needs its ports.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, assert_never

import msgspec
import trio

from runtime.bootstrap import Bootstrap
from runtime.descriptors import widen_descriptors
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
    Frame,
    Lent,
    Listeners,
    LiveUpdate,
    Prepare,
    Prepared,
    Ready,
    Start,
    Swap,
    Swapped,
)
from runtime.pages.processes import set_levels
from runtime.tls.contexts import MaterialError
from snapshot.encode import FormatError
from snapshot.index import Slice, slice_blobs
from snapshot.live import Credential, FetchedKeys, Registry, Resolved, Svid
from snapshot.prepared import PrepareError

MAX_ORDERS = 256
BORROW_S = 0.25
"""How long a request waits for a token before its worker counts by itself."""

log = logging.getLogger("weft.worker")


class DataPlane(Protocol):
    """What serves: ``runtime.proxy.Proxy``, or a fake of a test. Sockets given to ``add_sockets`` are its own from then on."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled."""

    def add_sockets(self, sockets: dict[str, socket.socket]) -> None:
        """Takes listening sockets by ``address:port``, for the next generations to accept on."""

    def drop_sockets(self, names: frozenset[str]) -> None:
        """Closes listening sockets that no generation accepts on: the slice that they came with was refused."""

    async def prepare(self, slice_: Slice) -> Any:
        """Makes a generation; raises FormatError or PrepareError."""

    def swap(self, generation: Any) -> None:
        """Makes a generation the serving one, without waiting."""

    def share_limits(self, borrow: Callable[[Borrow], Awaitable[Lent | None]], workers: int) -> None:
        """Says that other workers share the rate limits, and where tokens are borrowed."""

    def set_registry(self, registry: Registry) -> None:
        """Takes the registered workloads."""

    def set_resolved(self, resolved: list[Resolved]) -> None:
        """Takes the addresses of DNS names."""

    def set_svid(self, svid: Svid) -> None:
        """Takes a new certificate; connections that are open stay."""

    def set_credentials(self, credentials: list[Credential]) -> None:
        """Takes the keys for the slice's slots."""

    def set_keys(self, keys: Sequence[FetchedKeys]) -> None:
        """Takes the keys that tokens are checked by, all that there are."""

    def set_leaving(self, leaving: bool) -> None:
        """Asks clients to leave with each reply, or no more."""

    def close_listeners(self, names: frozenset[str]) -> None:
        """Accepts on these sockets no more, whatever slices come."""

    async def drain(self, deadline_s: float) -> None:
        """Returns when nothing is in flight, or at the deadline."""

    def pause_ms(self) -> float:
        """The longest that the lane stood still since this was last asked."""

    async def page(self, name: str) -> bytes:
        """One page of state: ``metrics`` (MessagePack), or JSON: ``clusters``, ``connections``, ``status``."""


class Worker:
    """Owns one data plane, the blobs it may need again, and at most one generation that is prepared and not swapped."""

    def __init__(self, channel: Channel, make_data_plane: Callable[[Bootstrap], DataPlane]) -> None:
        self._channel = channel
        self._make_data_plane = make_data_plane
        self._blobs: dict[str, bytes] = {}
        self._running: frozenset[str] = frozenset()
        self._prepared: tuple[int, Any, frozenset[str]] | None = None
        self._new_sockets: frozenset[str] = frozenset()
        self._borrowing: dict[int, trio.MemorySendChannel[Lent]] = {}
        self._borrows = 0

    async def run(self) -> None:
        """Serves until the supervisor says drain or is gone."""
        try:
            start = await self._channel.receive()
            assert isinstance(start, Start), start
            plane = self._make_data_plane(start.bootstrap)
            if start.bootstrap.workers > 1:
                plane.share_limits(self._borrow, start.bootstrap.workers)
            async with trio.open_nursery() as nursery:
                await nursery.start(plane.run)
                await self._channel.send(Ready())
                try:
                    await self._obey(plane)
                finally:
                    nursery.cancel_scope.cancel()
        except* ChannelClosedError:
            # The supervisor is gone; it has said why where it could.
            pass
        finally:
            self._channel.close()

    async def _obey(self, plane: DataPlane) -> None:
        send, orders = trio.open_memory_channel[Frame](MAX_ORDERS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, send)
            while True:
                frame = await orders.receive()
                if isinstance(frame, Drain):
                    await plane.drain(frame.deadline_s)
                    await self._channel.send(Drained())
                    nursery.cancel_scope.cancel()
                    return
                await self._act(plane, frame)

    async def _read(self, orders: trio.MemorySendChannel[Frame]) -> None:
        """Takes frames off the channel at all times: an order may take seconds, and a request that has borrowed waits for milliseconds."""
        while True:
            frame = await self._channel.receive()
            if not isinstance(frame, Lent):
                await orders.send(frame)
                continue
            waiter = self._borrowing.pop(frame.number, None)
            if waiter is not None:
                waiter.send_nowait(frame)

    async def _borrow(self, asked: Borrow) -> Lent | None:
        """Borrows tokens of a rate limit; None where no answer comes in time."""
        self._borrows += 1
        number = self._borrows
        send, receive = trio.open_memory_channel[Lent](1)
        self._borrowing[number] = send
        try:
            with trio.move_on_after(BORROW_S):
                await self._channel.send(msgspec.structs.replace(asked, number=number))
                return await receive.receive()
        except ChannelClosedError:
            pass
        finally:
            self._borrowing.pop(number, None)
        return None

    async def _act(self, plane: DataPlane, frame: Frame) -> None:
        match frame:
            case Listeners():
                plane.add_sockets(self._channel.take_sockets(frame))
                self._new_sockets |= frozenset(frame.names)
            case Blobs(blobs):
                self._blobs.update(blobs)
            case Prepare():
                await self._channel.send(await self._prepare(plane, frame))
            case Swap(number):
                await self._swap(plane, number)
            case Abandon():
                self._forget_prepared(plane)
            case LiveUpdate():
                _update(plane, frame)
            case Ask(number, page):
                await self._channel.send(Answer(number, await _page(plane, page)))
            case Start() | Drain() | Ready() | Prepared() | Swapped() | Answer() | Drained() | Borrow() | Lent():
                raise AssertionError(f"{type(frame).__name__} is not for a running worker")
            case _:
                assert_never(frame)

    async def _prepare(self, plane: DataPlane, frame: Prepare) -> Prepared:
        begin = time.monotonic()
        plane.pause_ms()
        wanted = frozenset(slice_blobs(frame.index))
        slice_ = Slice(frame.snapshot, frame.entry, frame.index, {name: self._blobs[name] for name in wanted})
        try:
            generation = await plane.prepare(slice_)
        except (FormatError, PrepareError) as error:
            self._forget_prepared(plane)
            source = getattr(error, "source", None)
            spent = (time.monotonic() - begin) * 1000
            return Prepared(frame.generation, spent, error.reason, str(error), str(source) if source else "")
        except Exception as error:
            # A supervision point: a slice that brings out a bug is refused; the connections of this worker are not its price.
            log.exception("a bug came out while a slice was prepared")
            self._forget_prepared(plane)
            spent = (time.monotonic() - begin) * 1000
            return Prepared(frame.generation, spent, "internal", f"{type(error).__name__}: {error}")
        self._prepared = (frame.generation, generation, wanted)
        return Prepared(frame.generation, (time.monotonic() - begin) * 1000)

    async def _swap(self, plane: DataPlane, number: int) -> None:
        assert self._prepared is not None, number
        prepared_as, generation, wanted = self._prepared
        assert prepared_as == number, (prepared_as, number)
        self._prepared, self._new_sockets = None, frozenset()
        plane.swap(generation)
        self._running = wanted
        self._keep(wanted)
        await self._channel.send(Swapped(number, plane.pause_ms()))

    def _forget_prepared(self, plane: DataPlane) -> None:
        plane.drop_sockets(self._new_sockets)
        self._prepared, self._new_sockets = None, frozenset()
        self._keep(self._running)

    def _keep(self, wanted: frozenset[str]) -> None:
        self._blobs = {name: blob for name, blob in self._blobs.items() if name in wanted}


async def _page(plane: DataPlane, name: str) -> bytes:
    try:
        return await plane.page(name)
    except Exception:
        log.exception("a bug came out while the page %s was made", name)
        return b""


def _update(plane: DataPlane, update: LiveUpdate) -> None:
    """Fills slots. What cannot be used is left out, and what was there stays: live data must not end what serves."""
    fillings: list[tuple[str, Callable[[], None]]] = []
    if update.levels is not None:
        fillings.append(("log levels", partial(set_levels, update.levels)))
    if update.svid is not None:
        fillings.append(("certificate", partial(plane.set_svid, update.svid)))
    if update.credentials is not None:
        fillings.append(("credentials", partial(plane.set_credentials, list(update.credentials))))
    if update.registry is not None:
        fillings.append(("registry", partial(plane.set_registry, update.registry)))
    if update.resolved is not None:
        fillings.append(("resolved names", partial(plane.set_resolved, list(update.resolved))))
    if update.keys is not None:
        fillings.append(("token keys", partial(plane.set_keys, update.keys)))
    if update.leaving is not None:
        fillings.append(("health", partial(plane.set_leaving, update.leaving)))
    if update.closed is not None:
        fillings.append(("listeners' end", partial(plane.close_listeners, frozenset(update.closed))))
    for name, fill in fillings:
        try:
            fill()
        except MaterialError as error:
            log.error("the new %s cannot be used, the old one stays: %s", name, error)  # noqa: TRY400  the reason says it all
        except Exception:
            log.exception("a bug came out while the %s was taken in; the old one stays", name)


def main(make_data_plane: Callable[[Bootstrap], DataPlane], descriptor: int) -> None:
    """Runs a worker on an inherited descriptor until it is told to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    widen_descriptors()
    # What is imported by now lives for ever; leaving it out of collections keeps them short.
    gc.freeze()
    trio.run(Worker(Channel(socket.socket(fileno=descriptor)), make_data_plane).run)


if __name__ == "__main__":
    from runtime.proxy import make_proxy

    main(make_proxy, int(sys.argv[1]))
