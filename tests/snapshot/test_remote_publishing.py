"""Publishing to real stores: publishers that die or race, and stores whose files were changed by somebody else."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.bootstrap import Bootstrap
from runtime.fetch.session import Session
from snapshot.index import Selector
from snapshot.store import Conflict, Store, StoreError
from snapshot.store_directory import DirectoryStore
from snapshot.store_oci import OciStore, tag_of
from snapshot.store_s3 import S3Store
from snapshot.trust.failure import Untrusted
from snapshot.trust.keys import create_keys, load_keys
from snapshot.trust.layout import PUBLISHER_ROLES
from snapshot.trust.publisher import read_published
from snapshot.trust.release import Release
from tests.publisher_process import opened
from tests.store_servers import new_prefix, new_repository
from tests.stores import NOW, MemoryStore, mesh, release_mesh, signing_keys

pytestmark = pytest.mark.integration

ROOT = signing_keys().root
KILLS = 4
REPOSITORY = Path(__file__).parents[2]


class Dying:
    """A store whose writes fail from the nth on, before they change anything."""

    def __init__(self, store: Store, *, fail_at: int) -> None:
        self._store = store
        self._left = fail_at
        self._counting = threading.Lock()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, name: str, content: bytes) -> None:
        self._count()
        self._store.put(name, content)

    def replace(self, name: str, content: bytes, *, expected: str | None) -> str:
        self._count()
        return self._store.replace(name, content, expected=expected)

    def _count(self) -> None:
        with self._counting:
            self._left -= 1
            if self._left <= 0:
                raise StoreError("the publisher was killed here")


def in_directory(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("tmp_path") / "store")


def in_s3(request: pytest.FixtureRequest) -> str:
    return new_prefix(request.getfixturevalue("s3_endpoint"))


def in_a_registry(request: pytest.FixtureRequest) -> str:
    return new_repository(request.getfixturevalue("registry"))


@pytest.fixture(params=[in_directory, in_s3, in_a_registry])
def location(request: pytest.FixtureRequest) -> str:
    make: Callable[[pytest.FixtureRequest], str] = request.param
    return make(request)


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    one = opened(location)
    yield one
    one.close()


def current(store: Store, root: bytes = ROOT) -> Release | None:
    published = read_published(store, root, "stable")
    return published.release if published else None


def test_a_publisher_that_dies_leaves_the_old_release_and_the_next_one_goes_on(location: str, store: Store) -> None:
    versions = [release_mesh(store, mesh("0", routes=2)).version]
    # The last four writes are the release record, targets, snapshot and timestamp; a blob comes before them.
    for step in (1, 4, 5, 6, 7):
        before = current(store)
        dead = opened(location)
        with pytest.raises(StoreError, match="killed"):
            release_mesh(Dying(dead, fail_at=step), mesh(f"dies at {step}", routes=2))
        assert current(store) == before
        versions.append(release_mesh(store, mesh(f"after {step}", routes=2)).version)
        dead.close()
    assert versions == sorted(set(versions))


def test_racing_publishers_publish_one_after_the_other_or_are_told(location: str, store: Store) -> None:
    release_mesh(store, mesh("0"))

    def publish(number: int) -> Release | None:
        mine = opened(location)
        try:
            return release_mesh(mine, mesh(f"racer {number}"))
        except Conflict:
            return None
        finally:
            mine.close()

    with ThreadPoolExecutor(4) as pool:
        published = [release for release in pool.map(publish, range(4)) if release is not None]
    assert published
    assert len({release.version for release in published}) == len(published)
    newest = max(published, key=lambda release: release.version)
    assert current(store) == newest
    assert {release.previous for release in published} == {1, *(r.version for r in published if r != newest)}


def test_a_publisher_killed_at_random_moments_never_spoils_the_store(location: str, tmp_path: Path) -> None:
    root = create_keys(tmp_path / "keys", now=NOW)
    keys = load_keys(tmp_path / "keys", PUBLISHER_ROLES)
    rng = random.Random(5)
    told: dict[int, str] = {}
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.publisher_process", location, str(tmp_path / "keys")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as publisher:
            assert publisher.stdout is not None
            lines = [publisher.stdout.readline()]
            killing = threading.Timer(rng.uniform(0, 0.4), publisher.kill)
            killing.start()
            lines += publisher.stdout.readlines()
            killing.join()
        for line in lines:
            version, digest = line.split()
            assert told.setdefault(int(version), digest) == digest, "a version is never used twice"
        reader = opened(location)
        seen = current(reader, root)
        assert seen is not None
        assert told.setdefault(seen.version, seen.snapshot) == seen.snapshot
        assert seen.version >= max(told)
        reader.close()
    writer = opened(location)
    last = release_mesh(writer, mesh("last"), keys=keys)
    assert last.version > max(told)
    assert current(writer, root) == last
    writer.close()


def overwrite(store: Store, name: str, content: bytes) -> None:
    """What somebody with write access to the place can do, past our rules."""
    match store:
        case DirectoryStore():
            (store.path / name).write_bytes(content)
        case S3Store():
            store._client.put_object(Bucket=store.bucket, Key=store._key(name), Body=content)
        case OciStore():
            store._registry.write_manifest(tag_of(name), store._upload(name, content))


def test_none_of_a_stores_files_can_be_changed_unnoticed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(ROOT)
    bootstrap = Bootstrap(
        selector=Selector(name="test"), store="s", root=str(tmp_path / "root.json"), state=str(tmp_path / "state")
    )
    copy = MemoryStore()
    for body in ("one", "two"):
        release_mesh(copy, mesh(body, routes=3))
    release_mesh(store, mesh("two", routes=3))
    for name, content in sorted(copy.files.items()):
        if name.startswith("metadata/"):
            overwrite(store, name, content)
        else:
            store.put(name, content)

    def fetch() -> str:
        folder = tmp_path / f"trust-{time.monotonic_ns()}"
        folder.mkdir()
        verified = Session(bootstrap, store, folder).refresh()
        assert verified is not None
        return verified.slice.snapshot

    good = fetch()
    assert good == mesh("two", routes=3).digest
    (tmp_path / "probe").mkdir()
    copy.reads.clear()
    Session(bootstrap, copy, tmp_path / "probe").refresh()
    rng = random.Random(7)
    refused, loaded = 0, []
    for name in sorted(set(copy.reads) & set(copy.files)):
        whole = copy.files[name]
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(7)
        for bad in (whole[: len(whole) // 2], bytes(flipped), copy.files["metadata/1.targets.json"], b""):
            overwrite(store, name, bad)
            try:
                loaded.append((name, fetch()))
            except (Untrusted, StoreError):
                refused += 1
        overwrite(store, name, whole)
    assert fetch() == good
    # What is let through is no other content: a flip that JSON reads as the same value.
    assert {snapshot for _, snapshot in loaded} <= {good}
    assert len(loaded) <= 2, loaded
    assert refused >= 20
