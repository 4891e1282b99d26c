"""What a proxy says that it runs, read from its admin pages. Each look is a connection of its own, so it never holds a drain up."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import trio

from weft.local.children import Children, LocalError
from weft.local.http_client import BadReplyError, HttpClient, Reply

ADMIN, READINESS = 15000, 15021
LOOK_S = 0.05
READY_S = 60.0
ANSWER_S = 2.0

Address = tuple[str, int]
T = TypeVar("T")


class Running(msgspec.Struct, frozen=True):
    """The part of ``/snapshot`` about what serves."""

    version: int
    commit: str
    digest: str
    since_s: float
    fresh: bool


class Problem(msgspec.Struct, frozen=True):
    """What went wrong last."""

    reason: str
    message: str


class ProxyView(msgspec.Struct, frozen=True):
    """``/snapshot`` of one proxy."""

    running: Running | None = None
    problem: Problem | None = None
    refused: Problem | None = None


async def look_at(address: Address) -> ProxyView | None:
    """One look at a proxy's ``/snapshot``; None where it does not answer."""
    return await read_page(address, "/snapshot", ProxyView)


async def read_page(address: Address, path: str, shape: type[T]) -> T | None:
    """A JSON page as a type, or None where there is none."""
    reply = await read(address, path)
    return msgspec.json.decode(reply.body, type=shape) if reply is not None and reply.status == 200 else None


async def read(address: Address, path: str) -> Reply | None:
    """One page by GET, or None where nothing answers within ANSWER_S."""
    client = HttpClient(address)
    try:
        with trio.move_on_after(ANSWER_S):
            return await client.get("localhost", path)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, BadReplyError, ValueError):
        return None
    finally:
        await client.close()
    return None


async def wait_ready(address: Address, path: str, children: Children, *, name: str) -> None:
    """Waits until a page answers 200; raises LocalError for a child that ended, or after READY_S."""
    with trio.move_on_after(READY_S):
        while (reply := await read(address, path)) is None or reply.status != 200:
            children.require_alive()
            await trio.sleep(LOOK_S)
        return
    raise LocalError(f"not ready after {READY_S:.0f} s: {name}\n{children.tail(name)}")
