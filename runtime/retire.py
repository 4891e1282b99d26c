"""Lets go of a generation that serves no more, in small pieces: freeing ten thousand routes at once would hold the lane for milliseconds.

Reference counts free what a generation owns the moment its last holder lets go. So its parts get one more holder each, a list, which is emptied
a few at a time once the last request under the generation has ended.
"""

from __future__ import annotations

import weakref

import trio

from runtime.generation import Generation
from snapshot.prepared import PreparedSlice

BATCH = 128
"""Parts freed between two checkpoints; about a tenth of a millisecond."""

LOOK_S = 0.1
LONGEST_S = 60.0
"""A request that outlives its generation by this much frees it with its own end."""


def parts_of(prepared: PreparedSlice) -> list[object]:
    """The many small parts of a prepared slice. What holds them (hosts, tables, their dicts) is not among them: it goes with the generation,
    which then only counts its parts down, and the parts themselves go batch by batch."""
    parts: list[object] = []
    for host in prepared.hosts.values():
        parts.extend(host.paths.parts())
        parts.extend(host.routes.values())
    parts.extend(prepared.sections.values())
    return parts


async def free(generation: weakref.ref[Generation], parts: list[object]) -> None:
    """Waits until nobody uses the generation, at most LONGEST_S, then frees its parts batch by batch. Takes over ``parts``."""
    with trio.move_on_after(LONGEST_S):
        # Polled: whoever holds a generation does so by a plain attribute, which tells nobody when it is let go.
        while generation() is not None:  # noqa: ASYNC110
            await trio.sleep(LOOK_S)
    while parts:
        del parts[-BATCH:]
        await trio.lowlevel.checkpoint()
