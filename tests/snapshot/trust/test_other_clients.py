"""python-tuf's own client, as it comes, reads our store from a plain file server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from snapshot.store_directory import DirectoryStore
from snapshot.trust.publisher import sign_timestamp
from snapshot.trust.release import decode_release
from tests.stores import DAY, NOW, mesh, release_mesh, signing_keys

pytestmark = pytest.mark.integration


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[DirectoryStore, str]]:
    store = DirectoryStore(tmp_path / "store")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(store.path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield store, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def updater(folder: Path, url: str) -> Updater:
    for name in ("metadata", "targets"):
        (folder / name).mkdir(exist_ok=True)
    return Updater(
        metadata_dir=str(folder / "metadata"),
        metadata_base_url=f"{url}/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{url}/targets/",
        bootstrap=signing_keys().root,
    )


def download(folder: Path, url: str) -> bytes:
    client = updater(folder, url)
    client.refresh()
    target = client.get_targetinfo("stable/release.json")
    assert target is not None
    return Path(client.download_target(target)).read_bytes()


def test_it_follows_releases_and_renewals(served: tuple[DirectoryStore, str], tmp_path: Path) -> None:
    store, url = served
    for body in ("one", "two"):
        release = release_mesh(store, mesh(body))
        assert decode_release(download(tmp_path, url)) == release
    sign_timestamp(store, signing_keys(), now=NOW + DAY / 2)
    assert decode_release(download(tmp_path, url)) == release


def test_it_refuses_our_older_store(served: tuple[DirectoryStore, str], tmp_path: Path) -> None:
    store, url = served
    release_mesh(store, mesh("one"))
    older = store.read("metadata/timestamp.json", max_bytes=100_000)
    release_mesh(store, mesh("two"))
    download(tmp_path, url)
    (store.path / "metadata" / "timestamp.json").write_bytes(older)
    with pytest.raises(RepositoryError):
        download(tmp_path, url)
