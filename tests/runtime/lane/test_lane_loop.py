"""How the lane waits: by itself for a moment after it has served, and through Trio otherwise."""

from __future__ import annotations

import select
import socket

import pytest
import trio
import trio.testing

from runtime.lane import loop
from runtime.lane.loop import WATCH_S, Lane


class RecordingEpoll:
    """A real epoll set that remembers how long each poll was willing to wait."""

    def __init__(self) -> None:
        self._real = select.epoll()
        self.waits: list[float] = []
        self.register, self.fileno, self.close = self._real.register, self._real.fileno, self._real.close

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        return self._real.poll(timeout, most)


class Reader:
    """A source that takes what comes and says so."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.served = trio.Event()

    def on_event(self, mask: int) -> None:
        del mask
        self.sock.recv(100)
        self.served.set()

    def abort(self) -> None:
        self.sock.close()


async def waits_of_one_event(*, stepped: bool) -> list[float]:
    """How the lane waited before and after one event, with or without a step of prepare just before."""
    lane, epoll = Lane(), RecordingEpoll()
    lane._epoll.close()
    lane._epoll = epoll  # type: ignore[assignment]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(ours)
        async with trio.open_nursery() as nursery:
            await nursery.start(lane.run)
            lane.register(ours.fileno(), reader, select.EPOLLIN)
            await trio.testing.wait_all_tasks_blocked()
            epoll.waits.clear()
            if stepped:
                with lane.pause():
                    pass
            theirs.send(b"x")
            with trio.fail_after(5):
                await reader.served.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    return epoll.waits


async def test_a_lane_that_has_served_waits_for_its_sockets_itself_for_a_moment() -> None:
    assert WATCH_S in await waits_of_one_event(stepped=False)


async def test_while_prepare_goes_step_by_step_the_lane_never_keeps_the_next_step_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "STEPS_S", 3600.0)  # However slow this machine is, the step was just now.
    assert set(await waits_of_one_event(stepped=True)) == {0}
