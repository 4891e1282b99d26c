"""Following a store behind HTTP: the control plane's pages, and a plain file host."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from runtime.bootstrap import Bootstrap
from runtime.control.board import Board
from runtime.control.routing import Router
from runtime.control.store_pages import StorePages
from runtime.fetch import FetchProblem, News, VerifiedSlice, follow
from runtime.service import Handler, ServiceListener, ServiceRequest, ServiceResponse
from runtime.service_server import serve
from snapshot.ahead import Wanted
from snapshot.index import Selector
from snapshot.store import NotFound
from snapshot.store_directory import DirectoryStore
from snapshot.store_http import HttpStore
from snapshot.trust.failure import Reason
from snapshot.trust.layout import MAX_BYTES, TIMESTAMP
from snapshot.trust.release import Release
from tests.stores import mesh, release_mesh, signing_keys

pytestmark = pytest.mark.integration

TOKEN = "let-me-publish"


def control_pages(folder: Path) -> Handler:
    changed = Board()
    pages = StorePages(DirectoryStore(folder), changed, changed.advance)
    return Router(pages.pages(), trust_domain="cluster.local", publish_token=TOKEN).answer


def timestamp_of(folder: Path) -> bytes:
    return DirectoryStore(folder).read(TIMESTAMP, max_bytes=MAX_BYTES["timestamp"])


def file_host(folder: Path) -> Handler:
    """A host without ETags that answers at once, and would not understand a query."""

    async def answer(request: ServiceRequest) -> ServiceResponse:
        assert (request.method, request.query) == ("GET", {})
        try:
            name = request.path.removeprefix("/store/")
            return ServiceResponse(body=DirectoryStore(folder).read(name, max_bytes=1 << 24))
        except NotFound:
            return ServiceResponse(status=404)

    return answer


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(handler, [ServiceListener(listening)], task_status=task_status)

        bound = await nursery.start(run)
        yield f"http://127.0.0.1:{bound[0][1]}/store"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def following(folder: Path, url: str, *, poll_s: float) -> AsyncIterator[trio.MemoryReceiveChannel[News]]:
    root = trio.Path(folder / "root.json")
    await root.write_bytes(signing_keys().root)
    bootstrap = Bootstrap(
        selector=Selector(name="test"), store=url, root=str(root), state=str(folder / "state"), poll_s=poll_s
    )
    send, receive = trio.open_memory_channel[News](16)

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await follow(bootstrap, send, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        with trio.fail_after(20):
            yield receive
        nursery.cancel_scope.cancel()


async def publish_over(url: str, body: str) -> Release:
    def publish() -> Release:
        store = HttpStore(url, token=TOKEN)
        try:
            return release_mesh(store, mesh(body))
        finally:
            store.close()

    return await trio.to_thread.run_sync(publish)


async def test_the_control_plane_tells_of_a_publication_at_once(tmp_path: Path) -> None:
    async with serving(control_pages(tmp_path / "store")) as url:
        first = await publish_over(url, "one")
        async with following(tmp_path, url, poll_s=0.05) as news:
            told = await news.receive()
            assert isinstance(told, VerifiedSlice)
            assert told.release == first
            for body in ("two", "three"):
                release = await publish_over(url, body)
                told = await news.receive()
                assert isinstance(told, VerifiedSlice)
                assert (told.release, told.slice.snapshot) == (release, mesh(body).digest)


async def test_after_the_first_release_one_request_on_one_connection_brings_each(tmp_path: Path) -> None:
    asked: list[tuple[str, str, int]] = []
    answer = control_pages(tmp_path / "store")

    async def counted(request: ServiceRequest) -> ServiceResponse:
        asked.append((request.method, request.path, request.peer.source_port))
        return await answer(request)

    wanted = Wanted("stable", Selector(name="test"))
    async with serving(counted) as url:
        await publish_over(url, "one")
        store = HttpStore(url)
        try:
            first = await trio.to_thread.run_sync(store.read_news, wanted, "")
            assert first is not None
            await publish_over(url, "two")
            asked.clear()
            second = await trio.to_thread.run_sync(store.read_news, wanted, first[0].version)
            assert second is not None
            found, files = second
            assert found.content == await trio.to_thread.run_sync(timestamp_of, tmp_path / "store")
            assert any(name.startswith("blobs/") for name in files)
            # Nothing new, and the connection is kept for the next question.
            assert await trio.to_thread.run_sync(store.read_news, wanted, found.version) is None
            assert await trio.to_thread.run_sync(store.read_news, wanted, found.version) is None
        finally:
            store.close()
    assert [(method, path) for method, path, _ in asked] == [("POST", "/store/ahead")] * 3
    assert len({port for _, _, port in asked}) == 1


async def test_a_release_between_two_looks_is_answered_without_waiting(tmp_path: Path) -> None:
    wanted = Wanted("stable", Selector(name="test"))
    async with serving(control_pages(tmp_path / "store")) as url:
        await publish_over(url, "one")
        store = HttpStore(url)
        try:
            first = await trio.to_thread.run_sync(store.read_news, wanted, "")
            assert first is not None
            await publish_over(url, "two")
            with trio.fail_after(5):
                look = partial(store.read_news, wanted, first[0].version, wait_s=30.0)
                assert await trio.to_thread.run_sync(look, abandon_on_cancel=True) is not None
        finally:
            store.close()


async def test_a_plain_file_host_is_polled_and_never_asked_to_wait(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    async with serving(file_host(tmp_path / "store")) as url:
        await trio.to_thread.run_sync(release_mesh, store, mesh("one"))
        async with following(tmp_path, url, poll_s=0.05) as news:
            assert isinstance(await news.receive(), VerifiedSlice)
            release = await trio.to_thread.run_sync(release_mesh, store, mesh("two"))
            told = await news.receive()
            assert isinstance(told, VerifiedSlice)
            assert told.release == release


async def test_a_store_that_stops_answering_is_told_and_so_is_its_return(tmp_path: Path) -> None:
    answer = file_host(tmp_path / "store")
    release = await trio.to_thread.run_sync(release_mesh, DirectoryStore(tmp_path / "store"), mesh("one"))
    broken = False

    async def sometimes(request: ServiceRequest) -> ServiceResponse:
        return ServiceResponse(status=503) if broken else await answer(request)

    async with serving(sometimes) as url, following(tmp_path, url, poll_s=0.02) as news:
        assert isinstance(await news.receive(), VerifiedSlice)
        broken = True
        told = await news.receive()
        assert isinstance(told, FetchProblem)
        assert told.reason is Reason.UNREACHABLE
        broken = False
        told = await news.receive()
        assert isinstance(told, VerifiedSlice)
        assert told.release == release
