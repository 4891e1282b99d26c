"""Publishing to real stores: publishers that die between two writes, or race. (Those killed at any moment: ``tests.faults``.)"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapshot.store import Conflict, Store, StoreError
from snapshot.trust.publisher import read_published
from snapshot.trust.release import Release
from tests.faults.places import Place, Tampered
from tests.stores import mesh, release_mesh, signing_keys

pytestmark = pytest.mark.integration

ROOT = signing_keys().root


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


@pytest.fixture
def place(tampered: Tampered) -> Place:
    return tampered.place


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    one = place.open()
    yield one
    one.close()


def current(store: Store, root: bytes = ROOT) -> Release | None:
    published = read_published(store, root, "stable")
    return published.release if published else None


def test_a_publisher_that_dies_leaves_the_old_release_and_the_next_one_goes_on(place: Place, store: Store) -> None:
    versions = [release_mesh(store, mesh("0", routes=2)).version]
    # The last four writes are the release record, targets, snapshot and timestamp; a blob comes before them.
    for step in (1, 4, 5, 6, 7):
        before = current(store)
        dead = place.open()
        with pytest.raises(StoreError, match="killed"):
            release_mesh(Dying(dead, fail_at=step), mesh(f"dies at {step}", routes=2))
        assert current(store) == before
        versions.append(release_mesh(store, mesh(f"after {step}", routes=2)).version)
        dead.close()
    assert versions == sorted(set(versions))


def test_racing_publishers_publish_one_after_the_other_or_are_told(place: Place, store: Store) -> None:
    release_mesh(store, mesh("0"))

    def publish(number: int) -> Release | None:
        mine = place.open()
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
