"""A store that comes back: the first answer is news, and must not be held back by a long poll."""

from __future__ import annotations

from pathlib import Path

import trio

from runtime.bootstrap import Bootstrap
from runtime.fetch import FetchProblem, News, VerifiedSlice, follow
from runtime.fetch.session import LONG_POLL_S
from snapshot.index import Selector
from snapshot.store import Found, StoreError
from tests.stores import MemoryStore, mesh, release_mesh, signing_keys


class PatientStore(MemoryStore):
    """Fails its second look, and writes down how long each look was ready to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def read_unless(self, name: str, version: str, *, max_bytes: int, wait_s: float = 0.0) -> Found | None:
        self.waits.append(wait_s)
        if len(self.waits) == 2:
            raise StoreError("gone")
        return super().read_unless(name, version, max_bytes=max_bytes)


async def test_after_a_problem_the_store_is_asked_not_to_wait(tmp_path: Path) -> None:
    store = PatientStore()
    release_mesh(store, mesh("one"))
    root = tmp_path / "root.json"
    root.write_bytes(signing_keys().root)
    bootstrap = Bootstrap(
        selector=Selector(name="test"), store="memory", root=str(root), state=str(tmp_path / "state"), poll_s=0.01
    )
    store.waits.clear()
    send, receive = trio.open_memory_channel[News](16)

    async def run() -> None:
        await follow(bootstrap, send, store=store)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(10):
            told = [await receive.receive() for _ in range(3)]
        nursery.cancel_scope.cancel()
    assert [type(news) for news in told] == [VerifiedSlice, FetchProblem, VerifiedSlice]
    assert store.waits[:3] == [LONG_POLL_S, LONG_POLL_S, 0.0]
