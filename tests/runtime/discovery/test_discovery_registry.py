"""Following the registry and staying in it, against a control plane that can be told to fail; time is the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from runtime.control.interface import REFRESH_S
from runtime.discovery.control import ControlClient, ControlError
from runtime.discovery.registry import LONGEST_RETRY_S, Registration, RegistryFollower
from snapshot.live import RegisteredWorkload, Registry

WORKLOAD = RegisteredWorkload("shop", "reviews", "127.0.0.3", (("app", "reviews"),), "spiffe://td/a")


class Control(ControlClient):
    """Holds one registry; long polls wait for ``change``. ``down`` refuses everything, ``refusal`` registrations."""

    def __init__(self) -> None:
        super().__init__("https://127.0.0.1:1", "")
        self.has_certificate.set()
        self.registry = Registry(1, ())
        self.down = False
        self.refusal = ""
        self.registered: list[float] = []
        self.withdrawn = 0
        self._changed = trio.Event()
        self._asked = -1
        self._asks = trio.Event()

    def change(self, *workloads: RegisteredWorkload) -> None:
        self.registry = Registry(self.registry.version + 1, workloads)
        self._changed.set()
        self._changed = trio.Event()

    async def asked_for(self, version: int) -> None:
        """Waits until a reader that has this version asks for another."""
        while self._asked != version:
            await self._asks.wait()

    async def read_registry(self, version: int, *, wait_s: float) -> Registry | None:
        if self.down:
            raise ControlError("unreachable", "away")
        self._asked = version
        self._asks.set()
        self._asks = trio.Event()
        if version == self.registry.version:
            with trio.move_on_after(wait_s):
                await self._changed.wait()
        return self.registry if version != self.registry.version else None

    async def register(self, workload: RegisteredWorkload) -> None:
        if self.down or self.refusal:
            raise ControlError(self.refusal or "unreachable", "no")
        self.registered.append(trio.current_time())

    async def withdraw(self, workload: RegisteredWorkload) -> None:
        if self.down:
            raise ControlError("unreachable", "away")
        self.withdrawn += 1


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0.02)


async def test_every_change_is_told_and_kept_for_a_restart(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    control = Control()
    told, hear = trio.open_memory_channel[Registry](8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RegistryFollower(control, tmp_path / "r.json").follow, told.send)
        assert (await hear.receive()).version == 1
        control.change(WORKLOAD)
        assert (await hear.receive()).version == 2
        # It asks again only when what it heard is on the disk.
        await control.asked_for(2)
        nursery.cancel_scope.cancel()
    control.down = True
    again = RegistryFollower(control, tmp_path / "r.json")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.follow, told.send)
        assert await hear.receive() == control.registry
        nursery.cancel_scope.cancel()
    assert not again.reachable


async def test_a_control_plane_that_comes_back_is_noticed_soon_and_the_last_registry_stays_meanwhile(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    control = Control()
    told, hear = trio.open_memory_channel[Registry](8)
    follower = RegistryFollower(control, tmp_path / "r.json")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.follow, told.send)
        first = await hear.receive()
        await control.asked_for(first.version)
        control.down = True
        control.change()
        assert (await hear.receive()).version == 2
        await trio.sleep(60)
        assert follower.registry is not None
        assert not follower.reachable
        control.change(WORKLOAD)
        control.down = False
        back = trio.current_time()
        assert (await hear.receive()).workloads == (WORKLOAD,)
        assert trio.current_time() - back <= LONGEST_RETRY_S
        nursery.cancel_scope.cancel()


async def test_damaged_saved_registry_is_no_registry(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    (tmp_path / "r.json").write_bytes(b'{"version": "x"')
    control = Control()
    control.down = True
    follower = RegistryFollower(control, tmp_path / "r.json")

    async def emit(registry: Registry) -> None:
        raise AssertionError(registry)

    with trio.move_on_after(3):
        await follower.follow(emit)
    assert follower.registry is None


async def test_a_lease_is_refreshed_in_time_and_ended_on_the_way_out(autojump_clock: trio.testing.MockClock) -> None:
    control = Control()
    registration = Registration(control)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.refresh_forever)
        await trio.sleep(1)
        assert control.registered == []
        registration.offer(WORKLOAD)
        await trio.sleep(2 * REFRESH_S + 1)
        assert control.registered == [1.0, 1.0 + REFRESH_S, 1.0 + 2 * REFRESH_S]
        assert await registration.withdraw()
        await trio.sleep(3 * REFRESH_S)
        nursery.cancel_scope.cancel()
    assert (control.withdrawn, len(control.registered)) == (1, 3)


async def test_a_refused_registration_is_tried_again_soon(autojump_clock: trio.testing.MockClock) -> None:
    control = Control()
    control.refusal = "naming"
    registration = Registration(control)
    registration.offer(WORKLOAD)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.refresh_forever)
        await trio.sleep(2.5)
        assert registration.problem == "no"
        control.refusal = ""
        await trio.sleep(1)
        assert registration.problem == ""
        nursery.cancel_scope.cancel()


async def test_leaving_does_not_insist_on_a_control_plane_that_is_away(autojump_clock: trio.testing.MockClock) -> None:
    control = Control()
    registration = Registration(control)
    assert not await registration.withdraw()
    registration.offer(WORKLOAD)
    control.down = True
    assert not await registration.withdraw()
