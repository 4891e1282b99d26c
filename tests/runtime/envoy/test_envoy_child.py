"""The process that is Envoy: when it ends, and when it does not."""

from __future__ import annotations

import pytest
import trio

from runtime.envoy.child import Child
from runtime.envoy.process import _LAUNCH

pytestmark = pytest.mark.integration
IDLE_S = 11.0
"""Trio ends a thread that had nothing to do for ten seconds."""


async def test_a_child_outlives_the_threads_that_come_and_go() -> None:
    child = Child([*_LAUNCH, "/bin/sleep", "60"])
    await trio.to_thread.run_sync(lambda: None)
    await trio.sleep(IDLE_S)
    assert child.returncode is None
    child.kill()
    assert await child.wait() == -9
    assert child.returncode == -9
    assert await child.wait() == -9


async def test_a_program_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/nowhere/envoy"])
