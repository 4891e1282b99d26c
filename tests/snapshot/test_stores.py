"""One contract for every kind of store, and what each kind adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import trio

from policies.head import Peer
from runtime.control.board import Board
from runtime.control.routing import Router
from runtime.control.store_pages import StorePages
from runtime.service import ServiceRequest
from snapshot import store_http
from snapshot.store import Conflict, NotFound, Store, StoreError, TooLarge, require_name
from snapshot.store_directory import DirectoryStore
from snapshot.store_http import HttpStore
from snapshot.store_oci import OciStore
from snapshot.stores import open_store
from tests.store_servers import QUICK, new_prefix, new_repository
from tests.stores import MemoryStore

TOKEN = "let-me-publish"
BIG = 1 << 20


def memory(_: Path) -> Store:
    return MemoryStore()


def directory(folder: Path) -> Store:
    return DirectoryStore(folder / "store")


def replied(status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> httpx.Response:
    """A response whose body is still to be streamed, as one from a socket is."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


def behind_control(folder: Path) -> Store:
    """Our HTTP client against the control plane's own pages, without a socket between."""
    pages = StorePages(DirectoryStore(folder / "store"), Board(), lambda: None)
    router = Router(pages.pages(), trust_domain="cluster.local", publish_token=TOKEN)

    def answer(request: httpx.Request) -> httpx.Response:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        query = dict(request.url.params)
        asked = ServiceRequest(request.method, request.url.path, query, headers, request.read(), Peer("", 0, "", 0))
        reply = trio.run(router.answer, asked)
        return replied(reply.status, list(reply.headers), reply.body)

    return HttpStore("http://control.test/store", token=TOKEN, transport=httpx.MockTransport(answer))


def in_s3(request: pytest.FixtureRequest) -> Store:
    return open_store(new_prefix(request.getfixturevalue("s3_endpoint")))


def in_a_registry(request: pytest.FixtureRequest) -> Store:
    return OciStore(new_repository(request.getfixturevalue("registry")), pace=QUICK)


REMOTE = [pytest.param(make, marks=pytest.mark.integration) for make in (in_s3, in_a_registry)]


@pytest.fixture(params=[memory, directory, behind_control, *REMOTE])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    make: Callable[[pytest.FixtureRequest | Path], Store] = request.param
    opened = make(request if make in (in_s3, in_a_registry) else tmp_path)
    yield opened
    opened.close()


def test_what_was_put_is_read(store: Store) -> None:
    store.put("blobs/ab/abc", b"content")
    assert store.read("blobs/ab/abc", max_bytes=7) == b"content"
    assert store.contains("blobs/ab/abc")


def test_a_file_that_is_not_there_is_not_found(store: Store) -> None:
    assert not store.contains("blobs/ab/abc")
    with pytest.raises(NotFound):
        store.read("blobs/ab/abc", max_bytes=BIG)
    with pytest.raises(NotFound):
        store.read_unless("metadata/timestamp.json", "", max_bytes=BIG)


def test_reading_stops_at_the_bound(store: Store) -> None:
    store.put("a", b"12345")
    with pytest.raises(TooLarge):
        store.read("a", max_bytes=4)


def test_the_same_bytes_may_be_put_again_and_others_may_not(store: Store) -> None:
    store.put("a", b"one")
    store.put("a", b"one")
    with pytest.raises(Conflict):
        store.put("a", b"two")
    assert store.read("a", max_bytes=BIG) == b"one"


def test_a_file_is_read_again_only_when_it_has_changed(store: Store) -> None:
    store.replace("a", b"one", expected=None)
    found = store.read_unless("a", "", max_bytes=BIG)
    assert found is not None
    assert store.read_unless("a", found.version, max_bytes=BIG) is None
    store.replace("a", b"two", expected=found.version)
    changed = store.read_unless("a", found.version, max_bytes=BIG)
    assert changed is not None
    assert changed.content == b"two"


def test_only_who_knows_the_current_version_may_replace(store: Store) -> None:
    first = store.replace("a", b"one", expected=None)
    second = store.replace("a", b"two", expected=first)
    assert second != first
    for stale in (first, None):
        with pytest.raises(Conflict):
            store.replace("a", b"three", expected=stale)
    assert store.read("a", max_bytes=BIG) == b"two"


def test_a_file_that_is_not_there_cannot_be_replaced(store: Store) -> None:
    with pytest.raises(Conflict):
        store.replace("a", b"one", expected=f'"{"0" * 64}"')
    assert not store.contains("a")


NOT_NAMES = ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "a\\b", "a%2fb", "a\n", "x" * 600]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_a_name_that_could_leave_a_store_is_refused(name: str, store: Store) -> None:
    with pytest.raises(StoreError):
        require_name(name)
    with pytest.raises(StoreError):
        store.read(name, max_bytes=BIG)
    with pytest.raises(StoreError):
        store.put(name, b"")


def test_a_directory_never_shows_a_half_written_file(tmp_path: Path) -> None:
    """The disk refuses the bytes: nothing appears under the name, and no litter stays."""
    folder = tmp_path / "store"
    store = DirectoryStore(folder)
    store.put("a/b", b"one")
    (folder / "taken").write_text("a file where a folder is needed")
    with pytest.raises(StoreError):
        store.put("taken/b", b"two")
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["b", "taken"]


def answering(response: Callable[[httpx.Request], httpx.Response], *, token: str = "") -> HttpStore:
    return HttpStore("http://host.test/mesh/", token=token, transport=httpx.MockTransport(response))


def test_a_static_host_without_etags_is_compared_by_content() -> None:
    store = answering(lambda _: replied(200, [], b"same"))
    found = store.read_unless("a", "", max_bytes=BIG)
    assert found is not None
    assert store.read_unless("a", found.version, max_bytes=BIG) is None


def test_a_static_hosts_weak_etag_is_sent_back_as_it_came() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        known = request.headers.get("if-none-match") == 'W/"5"'
        return replied(304 if known else 200, [(b"etag", b'W/"5"')], b"" if known else b"x")

    found = answering(answer).read_unless("a", "", max_bytes=BIG)
    assert found is not None
    assert answering(answer).read_unless("a", found.version, max_bytes=BIG) is None


def test_the_token_is_presented_and_its_refusal_is_told() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers["authorization"]))
        return httpx.Response(403)

    with pytest.raises(StoreError, match="publish token"):
        answering(answer, token="secret").put("a/b", b"")
    assert seen == [("http://host.test/mesh/a/b", "Bearer secret")]


@pytest.mark.parametrize("status", [301, 500, 503])
def test_any_other_answer_is_an_error_that_names_it(status: int) -> None:
    with pytest.raises(StoreError, match=str(status)):
        answering(lambda _: httpx.Response(status)).read("a", max_bytes=BIG)


def test_a_host_that_does_not_answer_is_an_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there", request=request)

    store = answering(refuse)
    for step in (
        lambda: store.read("a", max_bytes=BIG),
        lambda: store.put("a", b""),
        lambda: store.contains("a"),
    ):
        with pytest.raises(StoreError, match="nobody there"):
            step()


def test_a_host_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_http, "WHOLE_READ_S", -1.0)
    with pytest.raises(StoreError, match="took longer"):
        answering(lambda _: replied(200, [], b"x")).read("a", max_bytes=BIG)


def test_a_location_is_a_directory_or_a_url(tmp_path: Path) -> None:
    assert isinstance(open_store(str(tmp_path)), DirectoryStore)
    opened = open_store("http://127.0.0.1:1/store")
    assert isinstance(opened, HttpStore)
    opened.close()
    with pytest.raises(StoreError, match="ftp"):
        open_store("ftp://host/store")
    with pytest.raises(StoreError, match="CA certificates"):
        open_store("https://host/store", ca=str(tmp_path / "absent.pem"))
