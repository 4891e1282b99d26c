"""Long work beside the lane: done in pieces, with the sockets served in between."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

import trio

from runtime.lane.loop import Lane

Result = TypeVar("Result")

STEP_S = 0.001
"""Pieces are gathered until they took this long; a checkpoint for each of ten thousand would cost more than they do."""


async def paced(lane: Lane, steps: Generator[None, None, Result]) -> Result:
    """Drives steps to their result, giving way whenever STEP_S have passed; the lane is told of each piece as of a pause."""
    clock = time.perf_counter
    while True:
        with lane.pause():
            begin = clock()
            try:
                while clock() - begin < STEP_S:
                    next(steps)
            except StopIteration as done:
                result: Result = done.value
                return result
        await trio.lowlevel.checkpoint()
