"""Following a store, over real directories, under Trio."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from runtime.bootstrap import Bootstrap, BootstrapError
from runtime.fetch import FetchProblem, News, VerifiedSlice, follow
from runtime.fetch.changes import MAX_DELAY_S, next_delay_s
from runtime.fetch.follow import REST_S, Follower
from runtime.fetch.saved import require_root
from runtime.fetch.session import Now, Session, wall_clock
from snapshot.index import Selector
from snapshot.store import Store
from snapshot.store_directory import DirectoryStore
from snapshot.trust.failure import Reason
from snapshot.trust.release import Release
from tests.stores import DAY, NOW, mesh, release_mesh, signing_keys


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
async def following(
    bootstrap: Bootstrap, *, store: Store | None = None, now: Now = wall_clock
) -> AsyncIterator[trio.MemoryReceiveChannel[News]]:
    send, receive = trio.open_memory_channel[News](16)

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await follow(bootstrap, send, store=store, now=now, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        with trio.fail_after(10):
            yield receive
        nursery.cancel_scope.cancel()


async def next_release(news: trio.MemoryReceiveChannel[News]) -> Release:
    told = await news.receive()
    assert isinstance(told, VerifiedSlice), told
    return told.release


async def next_problem(news: trio.MemoryReceiveChannel[News]) -> Reason:
    told = await news.receive()
    assert isinstance(told, FetchProblem), told
    return told.reason


@pytest.mark.integration
async def test_a_watched_directory_tells_long_before_the_next_poll(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    async with following(bootstrap_in(tmp_path, poll_s=30)) as news:
        assert await next_release(news) == first
        for body in ("two", "three", "four"):
            release = release_mesh(store, mesh(body))
            published = trio.current_time()
            assert await next_release(news) == release
            assert trio.current_time() - published < 5, "the poll is at 30 s"


async def test_a_directory_that_appears_later_is_found_by_polling(tmp_path: Path) -> None:
    async with following(bootstrap_in(tmp_path)) as news:
        assert await next_problem(news) is Reason.MISSING
        release = release_mesh(DirectoryStore(tmp_path / "store"), mesh("one"))
        assert await next_release(news) == release


async def test_a_problem_is_told_once_and_its_end_is_told_by_the_slice_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    timestamp = store.path / "metadata" / "timestamp.json"
    good = timestamp.read_bytes()
    async with following(bootstrap_in(tmp_path)) as news:
        assert await next_release(news) == first
        timestamp.write_bytes(good[:-40])
        assert await next_problem(news) is Reason.UNDECODABLE
        timestamp.write_bytes(good)
        assert await next_release(news) == first


async def test_a_store_that_is_gone_leaves_the_saved_slice(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    bootstrap = bootstrap_in(tmp_path)
    async with following(bootstrap) as news:
        assert await next_release(news) == first
        with trio.fail_after(5):
            while not await trio.Path(bootstrap.state, "last-slice.weft").exists():
                await trio.lowlevel.checkpoint()
    store.path.rename(tmp_path / "elsewhere")
    async with following(bootstrap) as news:
        assert await next_problem(news) is Reason.MISSING
        assert await next_release(news) == first
        (tmp_path / "elsewhere").rename(store.path)
        assert await next_release(news) == first


async def test_a_root_that_comes_back_makes_the_saved_slice_usable_without_the_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    bootstrap = bootstrap_in(tmp_path)
    async with following(bootstrap) as news:
        assert await next_release(news) == first
    store.path.rename(tmp_path / "elsewhere")
    root = trio.Path(bootstrap.root)
    await root.rename(tmp_path / "root.away")
    # A saved slice that nothing can be verified by is no reason not to start, and none to serve.
    require_root(bootstrap)
    async with following(bootstrap) as news:
        assert await next_problem(news) is Reason.UNKNOWN_ROOT
        assert await next_problem(news) is Reason.MISSING
        await trio.Path(tmp_path / "root.away").rename(root)
        assert await next_release(news) == first


def test_without_a_root_and_a_saved_slice_a_proxy_does_not_start(tmp_path: Path) -> None:
    bootstrap = bootstrap_in(tmp_path)
    Path(bootstrap.root).unlink()
    with pytest.raises(BootstrapError, match=r"no root of trust at .*root\.json.*weft keys init"):
        require_root(bootstrap)


async def test_a_frozen_store_is_told_while_the_slice_goes_on(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    clock = [NOW]
    async with following(bootstrap_in(tmp_path), now=lambda: clock[0]) as news:
        assert await next_release(news) == first
        clock[0] = NOW + DAY
        assert await next_problem(news) is Reason.EXPIRED


async def test_a_full_disk_is_told_and_is_tried_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    bootstrap = bootstrap_in(tmp_path)
    state = trio.Path(bootstrap.state)
    await state.write_text("a file where the directory should be")
    async with following(bootstrap) as news:
        assert await next_release(news) == first
        assert await next_problem(news) is Reason.STATE
        second = release_mesh(store, mesh("two"))
        assert await next_release(news) == second
        assert await next_problem(news) is Reason.STATE
        await state.unlink()
        assert await next_release(news) == second
        assert await (state / "last-slice.weft").exists()


class StuckDisk(Session):
    """A session whose state directory takes no write until it is ``freed``."""

    freed = threading.Event()

    def persist(self) -> None:
        self.freed.wait()
        super().persist()


async def test_a_disk_that_hangs_does_not_hold_up_the_next_release(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    bootstrap = bootstrap_in(tmp_path)
    (tmp_path / "trust").mkdir()
    session = StuckDisk(bootstrap, store, tmp_path / "trust")
    send, news = trio.open_memory_channel[News](16)
    follower = Follower(session, send)
    first = release_mesh(store, mesh("one"))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await follower.start()
            nursery.start_soon(follower.keep_forever, bootstrap.poll_s)
            await trio.testing.wait_all_tasks_blocked()
            second = release_mesh(store, mesh("two"))
            await follower.look()
            # Nothing is asserted before the thread is free: a test that fails must not leave it behind.
            told = [await news.receive(), await news.receive()]
            session.freed.set()
            while not await trio.Path(bootstrap.state, "last-slice.weft").exists():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    follower.end()
    assert [one.release for one in told if isinstance(one, VerifiedSlice)] == [first, second]


async def test_after_news_and_only_then_the_next_look_has_time(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    release_mesh(store, mesh("one"))
    (tmp_path / "trust").mkdir()
    send, _news = trio.open_memory_channel[News](16)
    follower = Follower(Session(bootstrap_in(tmp_path), store, tmp_path / "trust"), send)
    await follower.start()
    assert follower.rest_s == REST_S
    assert not await follower.look()
    assert follower.rest_s == 0.0
    release_mesh(store, mesh("two"))
    assert await follower.look()
    assert follower.rest_s == REST_S
    (store.path / "metadata" / "timestamp.json").write_bytes(b"damaged")
    assert not await follower.look()
    assert follower.rest_s == 0.0, "a problem slows looks down by itself"
    follower.end()


async def test_threads_that_others_hold_do_not_hold_up_a_look(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = release_mesh(store, mesh("one"))
    bootstrap = bootstrap_in(tmp_path)
    (tmp_path / "trust").mkdir()
    send, news = trio.open_memory_channel[News](16)
    follower = Follower(Session(bootstrap, store, tmp_path / "trust"), send)
    shared = trio.to_thread.current_default_thread_limiter()
    borrowers = [object() for _ in range(int(shared.total_tokens))]
    for borrower in borrowers:
        shared.acquire_on_behalf_of_nowait(borrower)
    with trio.fail_after(10):
        await follower.start()
    for borrower in borrowers:
        shared.release_on_behalf_of(borrower)
    follower.end()
    assert await next_release(news) == first


@pytest.mark.parametrize(
    ("failures", "draw", "expected"),
    [(0, 0.5, 0.5), (0, 0.0, 0.45), (1, 0.5, 1.0), (3, 0.5, 4.0), (100, 0.5, MAX_DELAY_S)],
)
def test_failures_slow_polling_down_to_a_bound(failures: int, draw: float, expected: float) -> None:
    assert next_delay_s(0.5, failures, draw) == pytest.approx(expected)


def test_a_slow_pace_is_not_made_faster_by_failures() -> None:
    assert next_delay_s(60, 3, 0.5) == pytest.approx(60)
