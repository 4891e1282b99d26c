"""Following a store, over real directories, under Trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap
from runtime.fetch import News, VerifiedSlice, follow
from snapshot.index import Selector
from snapshot.store_directory import DirectoryStore
from tests.stores import mesh, release_mesh, signing_keys


def bootstrap_in(folder: Path, *, poll_s: float = 0.02) -> Bootstrap:
    root = folder / "root.json"
    root.write_bytes(signing_keys().root)
    return Bootstrap(
        selector=Selector(name="test"),
        store=str(folder / "store"),
        root=str(root),
        state=str(folder / "state"),
        poll_s=poll_s,
    )


@asynccontextmanager
async def following(bootstrap: Bootstrap) -> AsyncIterator[trio.MemoryReceiveChannel[News]]:
    send, receive = trio.open_memory_channel[News](16)
    async with trio.open_nursery() as nursery:
        await nursery.start(follow, bootstrap, send)
        with trio.fail_after(5):
            yield receive
        nursery.cancel_scope.cancel()


async def test_a_release_is_told_and_so_is_the_next(tmp_path: Path) -> None:
    bootstrap = bootstrap_in(tmp_path, poll_s=30)
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    async with following(bootstrap) as news:
        told = await news.receive()
        assert isinstance(told, VerifiedSlice)
        assert (told.release, told.fresh) == (first, True)
        second = release_mesh(store, mesh("two"))
        started = trio.current_time()
        told = await news.receive()
        assert trio.current_time() - started < 1.0
        assert isinstance(told, VerifiedSlice)
        assert told.release == second
        assert told.slice.snapshot == mesh("two").digest
